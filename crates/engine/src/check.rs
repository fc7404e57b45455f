//! `system check`.

use minidock_store::{CheckEvent, Checked, Finding, Store, StoreError};

use crate::ids::Ids;
use crate::{Engine, Error, Opening};

impl Engine {
    /// Verifies everything in the store, and repairs what can be if `repair`; also a store that is too damaged to be opened.
    ///
    /// # Errors
    /// When there is no store to check, or it cannot be read for another reason than damage.
    pub fn check(
        opening: Opening,
        repair: bool,
        events: &mut dyn FnMut(CheckEvent),
    ) -> Result<Checked, Error> {
        let before = unopenable(&opening, repair, events)?;
        if before.problems > before.repaired {
            return Ok(before);
        }
        let engine = Self::open(opening)?;
        engine.enter()?;
        let done = engine.store.check(repair, events)?;
        Ok(Checked {
            problems: done.problems + before.problems,
            repaired: done.repaired + before.repaired,
            ..done
        })
    }
}

/// What keeps a store from being opened.
fn unopenable(
    opening: &Opening,
    repair: bool,
    events: &mut dyn FnMut(CheckEvent),
) -> Result<Checked, Error> {
    let root = &opening.root;
    let mut done = Checked::default();
    loop {
        let ids = Ids::new(opening.surroundings.clone());
        let failure = ids.open(root, opening.id_map).err();
        let (subject, problem, remedy) = match failure {
            Some(Error::Store(StoreError::Damaged { path, problem }))
                if path.ends_with("version.json") =>
            {
                (path, problem, "written anew")
            }
            Some(Error::Store(e @ StoreError::Open { .. })) => {
                (root.clone(), e.to_string(), "closed to others")
            }
            Some(e) => return Err(e),
            None => return Ok(done),
        };
        done.problems += 1;
        done.repaired += u64::from(repair);
        if repair {
            if subject == *root {
                Store::close_to_others(root)?;
            } else {
                Store::repair_version(root, &ids.guess(root, opening.id_map)?)?;
            }
        }
        events(CheckEvent::Found(Finding {
            subject: subject
                .strip_prefix(root)
                .ok()
                .filter(|p| !p.as_os_str().is_empty())
                .unwrap_or(&subject)
                .to_string_lossy()
                .into_owned(),
            problem,
            affects: vec!["the whole store".into()],
            repair: repair.then(|| remedy.to_owned()),
        }));
        if !repair {
            return Ok(done);
        }
    }
}
