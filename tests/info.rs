//! `info`: what an installation works with.

use serde_json::{Value, json};

use crate::support::{Caller, Context, scenarios};

scenarios!(
    an_installation_is_described,
    the_storage_driver_is_named_with_the_reasons,
);

fn an_installation_is_described(cx: &Context) {
    cx.load_busybox();
    cx.run(["run", "--name", "one", "busybox", "true"]).ok();
    let single = cx.caller == Caller::Ordinary;
    let output = cx.run(["info"]);
    let text = output.silent_ok();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    for line in [
        "Containers: 1",
        " Running: 0",
        " Stopped: 1",
        "Images: 2",
        "Storage Driver: overlay",
        if single {
            "ID Map: single"
        } else {
            "ID Map: host"
        },
        &format!("Kernel Version: {}", kernel.trim()),
        &format!("Root Dir: {}", cx.root().display()),
        "OSType: linux",
        if single {
            "Root Emulation: on (chown, setuid and the like are answered; files stay yours)"
        } else {
            "Root Emulation: off (containers have more than one id)"
        },
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{output}");
    }
    assert_eq!(text.contains(" rootless\n"), single, "{output}");
    assert_eq!(
        text.contains("WARNING: one id for all files"),
        single,
        "{output}"
    );
    assert_eq!(cx.run(["system", "info"]).silent_ok(), text);

    let object: Value =
        serde_json::from_str(cx.run(["info", "--format", "json"]).silent_ok()).unwrap();
    assert_eq!(object["Driver"], "overlay");
    assert_eq!(object["Images"], 2);
    assert_eq!(object["RootEmulation"], single);
    assert_eq!(object["ContainersStopped"], 1);
    assert_eq!(object["KernelVersion"], kernel.trim());
    assert_eq!(object["DockerRootDir"], json!(cx.root()));
    assert!(object["NCPU"].as_u64().unwrap() > 0 && object["MemTotal"].as_u64().unwrap() > 1 << 20);
    let template = cx.run([
        "info",
        "-f",
        "{{.Driver}} {{.OSType}} {{len .SecurityOptions}}",
    ]);
    let options = if single { 4 } else { 3 };
    assert_eq!(template.silent_ok(), format!("overlay linux {options}\n"));
    assert_eq!(cx.run(["info", "-f", "{{"]).code, Some(64));
}

fn the_storage_driver_is_named_with_the_reasons(cx: &Context) {
    // Somebody has found out that the kernel's does not work; the other is not installed.
    cx.run(["info"]).ok();
    let file = cx.root().join("driver.json");
    let mut record: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    record["tried"][0]["refusal"] = json!("it said no");
    record["tried"].as_array_mut().unwrap().push(json!({
        "driver": "fuse-overlayfs", "program": "/bin/sh", "refusal": "nor did this",
    }));
    std::fs::write(&file, record.to_string()).unwrap();
    let output = cx.run(["info"]);
    let text = output.silent_ok();
    for line in [
        "Storage Driver: flat",
        " Not Used: overlay: it said no",
        " Not Used: fuse-overlayfs: nor did this",
        "WARNING: a better storage driver does not work: overlay: it said no",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{output}");
    }
    cx.load_busybox();
    let mounted = cx.run(["run", "--rm", "busybox", "sh", "-c", "mount | head -n 1"]);
    assert!(!mounted.silent_ok().contains("overlay"), "{mounted}");
    let driver = cx.run(["--storage-driver", "flat", "info", "-f", "{{.Driver}}"]);
    assert_eq!(driver.silent_ok(), "flat\n");
}
