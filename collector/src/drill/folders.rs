//! Where the recorded drills are: where `--drills` says, or where a package or the project has them.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// Where they are looked for, in this order: as a package installs them, and in the project's folder.
const PLACES: [&str; 2] = ["/usr/share/vonggac/drills", "tests/drills"];
/// What makes a folder a drill.
const DESCRIPTION: &str = "drill.toml";

#[derive(Debug, clap::Args)]
pub(super) struct Drills {
    /// Folder of the drills [default: /usr/share/vonggac/drills, or else ./tests/drills]
    #[arg(long = "drills", value_name = "DIR")]
    folder: Option<PathBuf>,
}

impl Drills {
    fn places(&self) -> Vec<PathBuf> {
        match &self.folder {
            Some(folder) => vec![folder.clone()],
            None => PLACES.map(PathBuf::from).to_vec(),
        }
    }

    /// The drills of the first place that has any, by name.
    pub(super) fn all(&self) -> Result<Vec<PathBuf>> {
        for place in self.places() {
            let drills = drills_in(&place).with_context(|| place.display().to_string())?;
            if !drills.is_empty() {
                return Ok(drills);
            }
        }
        ensure!(false, "no drill (a folder with {DESCRIPTION}) in {}", self.looked_in());
        Ok(Vec::new())
    }

    /// A drill by its folder, or by its name.
    pub(super) fn named(&self, drill: &Path) -> Result<PathBuf> {
        let there = self.places().into_iter().map(|place| place.join(drill));
        let mut candidates = std::iter::once(drill.to_owned()).chain(there);
        candidates.find(|folder| folder.join(DESCRIPTION).is_file()).with_context(|| {
            let drill = drill.display();
            format!(
                "no drill {drill}: neither a folder with {DESCRIPTION} nor one in {}; `vonggac drill list` lists them",
                self.looked_in()
            )
        })
    }

    fn looked_in(&self) -> String {
        let places: Vec<String> = self.places().iter().map(|place| place.display().to_string()).collect();
        format!("{}; --drills DIR names another folder", places.join(" or "))
    }
}

/// None where there is no such folder.
fn drills_in(place: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(place) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut drills = Vec::new();
    for entry in entries {
        let folder = entry?.path();
        if folder.join(DESCRIPTION).is_file() {
            drills.push(folder);
        }
    }
    drills.sort();
    Ok(drills)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_drills_by_folder_and_by_name_and_says_where_it_looked() {
        let folder = tempfile::tempdir().unwrap();
        let drills = Drills { folder: Some(folder.path().into()) };
        let place = folder.path().display().to_string();
        for said in [drills.all().unwrap_err(), drills.named(Path::new("b")).unwrap_err()] {
            assert!(said.to_string().contains(&place), "{said}");
        }
        for name in ["b", "a", "no drill"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        for name in ["b", "a"] {
            std::fs::write(folder.path().join(name).join(DESCRIPTION), "").unwrap();
        }
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        assert_eq!(drills.all().unwrap(), [a, b.clone()]);
        assert_eq!(drills.named(Path::new("b")).unwrap(), b);
        assert_eq!(drills.named(&b).unwrap(), b);
        assert!(drills.named(Path::new("no drill")).is_err());
        let gone = Drills { folder: Some(folder.path().join("gone")) };
        assert!(gone.all().unwrap_err().to_string().contains("gone"));
    }

    #[test]
    fn looks_where_a_package_installs_them_and_in_the_project() {
        let said = Drills { folder: None }.named(Path::new("no-such-drill")).unwrap_err().to_string();
        assert!(PLACES.iter().all(|place| said.contains(place)), "{said}");
    }
}
