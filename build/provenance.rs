//! The build as `effnet --version --verbose` tells it: commit, features, profile.

use std::env;
use std::path::Path;
use std::process::Command;

/// Sets `EFFNET_BUILD_COMMIT`, `EFFNET_BUILD_FEATURES` and `EFFNET_BUILD_PROFILE` for the crate.
pub fn tell(root: &Path, out: &Path) {
    let mut features: Vec<String> = env::vars()
        .filter_map(|(name, _)| Some(name.strip_prefix("CARGO_FEATURE_")?.to_lowercase()))
        .filter(|name| name != "default")
        .map(|name| name.replace('_', "-"))
        .collect();
    features.sort_unstable();
    let features = if features.is_empty() { "none".to_owned() } else { features.join(" ") };
    // target/PROFILE/build/effnet-HASH/out
    let profile = out.ancestors().nth(3).and_then(Path::file_name).unwrap_or_default();
    // A development build would be compiled anew after every commit.
    let debug = env::var("PROFILE").is_ok_and(|profile| profile == "debug");
    let commit = if debug { None } else { commit(root) };
    let commit = commit.unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=EFFNET_BUILD_COMMIT={commit}");
    println!("cargo::rustc-env=EFFNET_BUILD_FEATURES={features}");
    println!("cargo::rustc-env=EFFNET_BUILD_PROFILE={}", profile.to_string_lossy());
}

/// The commit that is checked out; none in a package, which is no repository of its own.
fn commit(root: &Path) -> Option<String> {
    if !root.join(".git").exists() {
        return None;
    }
    // What changes when another commit is checked out, or one is made.
    let head = git(root, &["symbolic-ref", "--quiet", "HEAD"]);
    for name in ["HEAD"].into_iter().chain(head.as_deref()).chain(["packed-refs"]) {
        let path = root.join(git(root, &["rev-parse", "--git-path", name])?);
        // cargo takes a file that is not there for one that has changed.
        if path.is_file() {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    git(root, &["rev-parse", "--short=12", "HEAD"])
}

fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").current_dir(root).args(arguments).output().ok()?;
    let answer = String::from_utf8(output.stdout).ok()?;
    Some(answer.trim().to_owned()).filter(|answer| output.status.success() && !answer.is_empty())
}
