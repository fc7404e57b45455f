//! `minidock doctor`.

use clap::Args;
use minidock_engine::doctor::{Examination, Finding, Level, apparmor_profile, examine};

use super::common::print;
use crate::failure::Failure;
use crate::place::Place;

#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Print JSON, for programs
    #[arg(long)]
    pub json: bool,
    /// Print an AppArmor profile that lets this binary make user namespaces, and nothing else
    #[arg(long, conflicts_with = "json")]
    pub apparmor_profile: bool,
}

/// `minidock doctor`: exit status 1 when no container can run.
pub fn doctor(place: &Place, args: DoctorArgs) -> Result<u8, Failure> {
    if args.apparmor_profile {
        let binary = std::env::current_exe()
            .map_err(|e| Failure::new("cannot tell where this binary is").caused_by(e))?;
        print(&apparmor_profile(&binary))?;
        return Ok(0);
    }
    let findings = examine(&Examination {
        root: place.root(),
        surroundings: &place.opening().surroundings,
    });
    print(&if args.json {
        json(&findings)?
    } else {
        text(&findings)
    })?;
    Ok(u8::from(findings.iter().any(|f| f.level == Level::Missing)))
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Ok => "ok",
        Level::Degraded => "degraded",
        Level::Missing => "missing",
    }
}

fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        text.push_str(&format!(
            "{:<9} {:<11} {}\n",
            word(finding.level),
            finding.subject,
            finding.why
        ));
        if let Some(remedy) = &finding.remedy {
            text.push_str(&format!("{:21} remedy: {remedy}\n", ""));
        }
    }
    text.push_str(if findings.iter().any(|f| f.level == Level::Missing) {
        "containers cannot run here until what is missing is mended\n"
    } else {
        "containers can run here\n"
    });
    text
}

fn json(findings: &[Finding]) -> Result<String, Failure> {
    let list: Vec<serde_json::Value> = findings
        .iter()
        .map(|f| {
            serde_json::json!({
                "subject": f.subject,
                "level": word(f.level),
                "why": f.why,
                "remedy": f.remedy,
            })
        })
        .collect();
    serde_json::to_string_pretty(&list)
        .map(|text| text + "\n")
        .map_err(|e| Failure::new("cannot write JSON").caused_by(e))
}
