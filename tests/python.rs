//! Clients that exist in Python only: a virtual environment for each list of packages, made under `target/`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::site::root;

/// The interpreter of an environment that holds what `requirements` (a file in tests/python) names. Without a registry in reach
/// there is none: it is said, and in CI it is a failure.
pub(crate) fn interpreter(test: &str, requirements: &str) -> Result<Option<PathBuf>> {
    let list = root().join("tests/python").join(requirements);
    let wanted = std::fs::read(&list).with_context(|| list.display().to_string())?;
    let name = requirements.split('.').next().unwrap_or(requirements);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python").join(name);
    let (python, made) = (folder.join("bin/python"), folder.join("made"));
    if std::fs::read(&made).is_ok_and(|made| made == wanted) {
        return Ok(Some(python));
    }
    let folder_text = folder.to_str().context("a path of UTF-8")?;
    run(Command::new("python3").args(["-m", "venv", "--clear", folder_text]))?;
    let list = list.to_str().context("a path of UTF-8")?;
    let arguments = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", list];
    if let Err(error) = run(Command::new(&python).args(arguments)) {
        ensure!(std::env::var_os("CI").is_none(), "{test}: {error:#}");
        eprintln!("SKIPPED {test}: the packages of tests/python/{requirements} cannot be installed");
        return Ok(None);
    }
    std::fs::write(&made, wanted)?;
    Ok(Some(python))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
