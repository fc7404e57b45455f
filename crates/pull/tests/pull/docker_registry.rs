//! The real thing: Debian's `docker-registry` on a loopback port, without and with TLS.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use minidock_oci::{Digest, Reference};
use minidock_pull::{Error, TransportKind};
use minidock_test_registry::{Fault, Image, Registry, tar};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::world::{World, chain, image, noise};

/// A running `docker-registry`, gone when dropped.
struct DockerRegistry {
    process: Child,
    host: String,
}

impl DockerRegistry {
    /// Starts one on a storage folder; `tls` are certificate, key, and the authority of its clients. `None`, and a word why,
    /// where it is not installed.
    fn start(folder: &Path, tls: Option<(&Path, &Path, Option<&Path>)>) -> Option<Self> {
        let storage = folder.join("storage");
        let tls = tls.map_or(String::new(), |(certificate, key, clients)| {
            let (certificate, key) = (certificate.display(), key.display());
            let clients = clients.map_or(String::new(), |path| {
                format!(", clientcas: ['{}']", path.display())
            });
            format!(", tls: {{certificate: {certificate}, key: {key}{clients}}}")
        });
        let config = folder.join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '127.0.0.1:0'{tls}}}\n",
            storage.display()
        );
        std::fs::write(&config, text).unwrap();
        let spawned = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut process = match spawned {
            Ok(process) => process,
            Err(e) => {
                let why =
                    format!("docker-registry cannot be started ({e}); `make deps` installs it");
                assert_ne!(
                    std::env::var("MINIDOCK_TEST_MUST_WORK").as_deref(),
                    Ok("1"),
                    "{why}"
                );
                skipped(&why);
                return None;
            }
        };
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let port = loop {
            let mut line = String::new();
            assert_ne!(
                log.read_line(&mut line).unwrap(),
                0,
                "docker-registry ended"
            );
            if let Some((_, port)) = line.split_once("listening on 127.0.0.1:") {
                break port
                    .chars()
                    .take_while(char::is_ascii_digit)
                    .collect::<String>();
            }
        };
        // Somebody has to read the rest, or it stops when the pipe is full.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Some(Self {
            process,
            host: format!("127.0.0.1:{port}"),
        })
    }

    fn push(&self, layout: &Path, name: &str) {
        let script = repository().join("fixtures/push.sh");
        let mut push = Command::new(script);
        let pushed = push.arg(layout).arg(format!("{}/{name}", self.host));
        assert!(pushed.status().unwrap().success(), "cannot push {layout:?}");
    }

    fn reference(&self, name: &str) -> Reference {
        format!("{}/{name}", self.host).parse().unwrap()
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[expect(clippy::print_stderr, reason = "whoever runs the tests shall know")]
fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Writes an image as an OCI image layout.
fn write_layout(folder: &Path, image: &Image) {
    let blobs = folder.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let manifest = Digest::sha256(&image.manifest);
    let all = image.blobs().into_iter();
    for (digest, bytes) in all.chain([(manifest.clone(), image.manifest.as_slice())]) {
        std::fs::write(blobs.join(digest.hex()), bytes).unwrap();
    }
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{{"digest":"{manifest}"}}]}}"#);
    std::fs::write(folder.join("index.json"), index).unwrap();
}

/// Layouts to pull: what the tests make, and the official busybox images where they lie beside the project.
fn layouts(folder: &Path) -> Vec<(String, PathBuf)> {
    let own = folder.join("own");
    write_layout(&own, &image());
    let mut all = vec![("own".to_owned(), own)];
    let official = repository().join("../shared/images/busybox");
    for name in ["glibc-amd64", "musl-amd64"] {
        match official.join(name) {
            layout if layout.exists() => all.push((name.to_owned(), layout)),
            _ => {
                let layout = folder.join(name);
                let busybox = std::fs::read("/bin/busybox").unwrap_or_else(|_| noise(1 << 20));
                write_layout(&layout, &Image::of(&[tar(&[("bin/busybox", &busybox)])]));
                skipped(&format!(
                    "{} is absent: a look-alike is pulled",
                    official.display()
                ));
                all.push((name.to_owned(), layout));
            }
        }
    }
    all
}

#[test]
fn images_come_whole_and_only_once() {
    let world = World::new(Registry::start());
    let folder = tempfile::tempdir().unwrap();
    let Some(registry) = DockerRegistry::start(folder.path(), None) else {
        return;
    };
    for (name, layout) in layouts(folder.path()) {
        let name = format!("library/{name}:1");
        registry.push(&layout, &name);
        let reference = registry.reference(&name);
        let pulled = world.pull_and(&reference, &|_| {}).unwrap();
        assert!(pulled.new);
        let config = world.store.image_config(&pulled.image_id).unwrap();
        assert!(!config.rootfs.diff_ids.is_empty());
        match name.contains("own") {
            true => assert_eq!(world.read(&pulled, "base"), noise(300_000)),
            false => assert!(world.read(&pulled, "bin/busybox").len() > 100_000),
        }
        let again = world.pull_and(&reference, &|_| {}).unwrap();
        assert_eq!((again.new, again.digest), (false, pulled.digest.clone()));
        // By digest it is the same image, and no layer is fetched for it.
        let pinned = reference.at_digest(&pulled.digest);
        assert_eq!(
            world.pull_and(&pinned, &|_| {}).unwrap().image_id,
            pulled.image_id
        );
    }
    for missing in ["library/own:2", "nobody/nothing:1"] {
        let error = world
            .pull_and(&registry.reference(missing), &|_| {})
            .unwrap_err();
        assert!(
            matches!(error, Error::NotFound(_) | Error::Denied { .. }),
            "{}",
            chain(&error)
        );
    }
    assert_eq!(world.retries(), []);
}

/// Certificates of an authority's own, as PEM.
pub struct Authority {
    root: CertificateParams,
    root_key: KeyPair,
}

impl Authority {
    pub fn new() -> Self {
        let mut root = CertificateParams::new(Vec::new()).unwrap();
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root_key = KeyPair::generate().unwrap();
        Self { root, root_key }
    }

    pub fn certificate(&self) -> rcgen::Certificate {
        self.root.self_signed(&self.root_key).unwrap()
    }

    /// A certificate for a name, and its key.
    pub fn sign(&self, name: &str) -> (String, String) {
        let issuer = Issuer::from_params(&self.root, &self.root_key);
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &issuer).unwrap();
        (leaf.pem(), key.serialize_pem())
    }
}

#[test]
fn tls_is_spoken_and_its_certificate_checked() {
    let mut world = World::new(Registry::start());
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let (certificate, key) = authority.sign("127.0.0.1");
    let paths = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
    std::fs::write(&paths[0], certificate).unwrap();
    std::fs::write(&paths[1], key).unwrap();
    // Pushed without TLS, pulled with it from the same storage.
    let Some(plain) = DockerRegistry::start(folder.path(), None) else {
        return;
    };
    let own = folder.path().join("own");
    write_layout(&own, &image());
    plain.push(&own, "own:1");
    drop(plain);
    let tls = (paths[0].as_path(), paths[1].as_path(), None);
    let secure = DockerRegistry::start(folder.path(), Some(tls)).unwrap();
    let reference = secure.reference("own:1");

    let error = world.pull_and(&reference, &|_| {}).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Transport {
                kind: TransportKind::Certificate(_),
                ..
            }
        ),
        "{}",
        chain(&error)
    );
    assert!(
        error
            .hint()
            .is_some_and(|hint| hint.contains("SSL_CERT_FILE"))
    );
    assert_eq!(world.retries(), [], "a refused certificate was tried again");
    world.assert_nothing_there();

    world.options.extra_roots = vec![authority.certificate().der().to_vec()];
    world.options.stall_timeout = Duration::from_secs(60);
    let pulled = world.pull_and(&reference, &|_| {}).unwrap();
    assert_eq!(world.read(&pulled, "base"), noise(300_000));
    assert!(!world.pull_and(&reference, &|_| {}).unwrap().new);
    assert_eq!(world.retries(), []);
}

#[test]
fn a_registry_without_tls_elsewhere_is_told_so() {
    let world = World::new(Registry::start());
    let folder = tempfile::tempdir().unwrap();
    let Some(plain) = DockerRegistry::start(folder.path(), None) else {
        return;
    };
    // Wherever TLS is a must, as here behind a redirect.
    let to = format!("https://{}/v2/", plain.host);
    world.registry.plan("/manifests/", 1, Fault::Redirect(to));
    let error = world.pull("app:1").unwrap_err();
    assert!(
        chain(&error).contains("does not speak TLS"),
        "{}",
        chain(&error)
    );
    assert!(error.hint().is_some_and(|hint| hint.contains("loopback")));
    assert_eq!(world.retries(), []);
}

#[test]
fn certificates_of_one_registry_are_in_its_folder() {
    let mut world = World::new(Registry::start());
    let folder = tempfile::tempdir().unwrap();
    let write = |path: PathBuf, text: &str| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    };
    let Some(plain) = DockerRegistry::start(folder.path(), None) else {
        return;
    };
    let own = folder.path().join("own");
    write_layout(&own, &image());
    plain.push(&own, "own:1");
    drop(plain);
    let authority = Authority::new();
    let (certificate, key) = authority.sign("127.0.0.1");
    let certificate = write(folder.path().join("cert.pem"), &certificate);
    let key = write(folder.path().join("key.pem"), &key);
    let root = write(
        folder.path().join("root.pem"),
        &authority.certificate().pem(),
    );
    let tls = (certificate.as_path(), key.as_path(), Some(root.as_path()));
    let secure = DockerRegistry::start(folder.path(), Some(tls)).unwrap();
    let reference = secure.reference("own:1");
    let certs = folder.path().join("certs.d");
    world.options.certificates = vec![folder.path().join("none"), certs.clone()];
    let ours = certs.join(&secure.host);

    // The authority alone: the registry is trusted, and wants to know who we are.
    write(ours.join("ca.crt"), &authority.certificate().pem());
    let error = world.pull_and(&reference, &|_| {}).unwrap_err();
    assert!(
        !matches!(
            error,
            Error::Transport {
                kind: TransportKind::Certificate(_),
                ..
            }
        ),
        "{}",
        chain(&error)
    );
    let (client, client_key) = authority.sign("me");
    write(ours.join("client.cert"), &client);
    let error = world.pull_and(&reference, &|_| {}).unwrap_err();
    assert!(
        error.to_string().contains("client.cert needs its key"),
        "{error}"
    );
    write(ours.join("client.key"), &client_key);
    let pulled = world.pull_and(&reference, &|_| {}).unwrap();
    assert_eq!(world.read(&pulled, "base"), noise(300_000));
    // Another registry's folder is none of its business.
    std::fs::rename(&ours, certs.join("127.0.0.1:1")).unwrap();
    assert!(world.pull_and(&secure.reference("own:2"), &|_| {}).is_err());
    write(ours.join("ca.crt"), "no certificate");
    let error = world.pull_and(&reference, &|_| {}).unwrap_err();
    assert!(error.to_string().contains("ca.crt"), "{error}");
}

#[test]
fn an_insecure_registry_may_have_any_certificate() {
    let mut world = World::new(Registry::start());
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = Authority::new().sign("elsewhere.example.com");
    let paths = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
    std::fs::write(&paths[0], certificate).unwrap();
    std::fs::write(&paths[1], key).unwrap();
    let tls = (paths[0].as_path(), paths[1].as_path(), None);
    let Some(secure) = DockerRegistry::start(folder.path(), Some(tls)) else {
        return;
    };
    let reference = secure.reference("own:1");
    let error = world.pull_and(&reference, &|_| {}).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Transport {
                kind: TransportKind::Certificate(_),
                ..
            }
        ),
        "{}",
        chain(&error)
    );
    let conf = folder.path().join("registries.conf");
    let text = format!(
        "[[registry]]\nlocation = '{}'\ninsecure = true\n",
        secure.host
    );
    std::fs::write(&conf, text).unwrap();
    world.options.registries = minidock_pull::Registries::read(&[conf]).unwrap();
    let error = world.pull_and(&reference, &|_| {}).unwrap_err();
    assert!(matches!(error, Error::NotFound(_)), "{}", chain(&error));
}
