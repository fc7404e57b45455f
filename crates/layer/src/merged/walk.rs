//! The whole view, one file after the other.

use std::rc::Rc;

use super::{Merged, Named, Node, NodeKind, Part};
use crate::Error;

/// Folders on the way down that are kept open: a hostile tree may be deeper than there are descriptors.
const MAX_OPEN: usize = 16;

/// Whether to look into a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Go on with what is in it.
    Into,
    /// Pass it over.
    Past,
}

struct Frame {
    path: Vec<u8>,
    parts: Option<Rc<Vec<Part>>>,
    names: std::vec::IntoIter<Named>,
}

impl Merged {
    /// Visits a node and all below it: a folder before what is in it, names in the order of their bytes. Memory grows with
    /// the folders on the way, not with the tree.
    ///
    /// # Errors
    /// The visitor's, or when something cannot be looked at. What vanishes meanwhile is passed over.
    pub fn walk<E: From<Error>>(
        &self,
        from: &Node,
        visit: &mut dyn FnMut(&Node) -> Result<Next, E>,
    ) -> Result<(), E> {
        let mut frames: Vec<Frame> = Vec::new();
        if visit(from)? == Next::Into && from.kind == NodeKind::Directory {
            frames.push(self.enter(from)?);
        }
        while let Some(depth) = frames.len().checked_sub(1) {
            let frame = &mut frames[depth];
            let Some((name, indices)) = frame.names.next() else {
                frames.pop();
                continue;
            };
            let parts = match &frame.parts {
                Some(parts) => Rc::clone(parts),
                None => {
                    let again = self.lookup(&frame.path)?;
                    let parts = again
                        .map(|n| n.open_parts())
                        .transpose()?
                        .unwrap_or_default();
                    frame.parts = Some(Rc::clone(&parts));
                    parts
                }
            };
            let Some(node) = self.child_of(&parts, &frame.path, &name, &indices)? else {
                continue;
            };
            if visit(&node)? == Next::Into && node.kind == NodeKind::Directory {
                let inside = self.enter(&node)?;
                frames.push(inside);
                if let Some(outer) = frames.len().checked_sub(MAX_OPEN) {
                    frames[outer].parts = None;
                }
            }
        }
        Ok(())
    }

    fn enter(&self, folder: &Node) -> Result<Frame, Error> {
        let parts = folder.open_parts()?;
        let names = self.names(folder, &parts)?;
        Ok(Frame {
            path: folder.path.clone(),
            parts: Some(parts),
            names: names.into_iter(),
        })
    }
}
