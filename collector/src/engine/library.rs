//! Where `libchdb.so` is: it is no part of the program, because it is 566 MB and few need it.

use std::path::{Path, PathBuf};

use anyhow::bail;

/// Names a library that is used before the usual places.
pub(super) const LIBRARY_ENV: &str = "VONGGAC_CHDB";
const FILE: &str = "libchdb.so";

/// Looks for the library: as told, by the environment, beside the program, in the data folder. Never in the current folder:
/// whoever may write there would have his program run.
pub(super) fn find(told: Option<&Path>, data_dir: &Path) -> anyhow::Result<PathBuf> {
    let told = told.map(PathBuf::from).or_else(|| std::env::var_os(LIBRARY_ENV).map(PathBuf::from));
    let places = told.map_or_else(|| usual(data_dir), |path| vec![path]);
    if let Some(found) = places.iter().find(|path| path.is_file()) {
        return Ok(found.clone());
    }
    let looked: Vec<String> = places.iter().map(|path| format!("\n    {}", path.display())).collect();
    bail!(
        "the ClickHouse engine library is not there. Looked for:{}\n  `deploy/fetch-engine` fetches it; its place is told by \
         [store] library in vonggac.toml, by --library, or by {LIBRARY_ENV}.\n  Without it, set [clickhouse] url to a \
         ClickHouse server.",
        looked.concat()
    )
}

fn usual(data_dir: &Path) -> Vec<PathBuf> {
    let program = std::env::current_exe().unwrap_or_default();
    let beside = program.parent().and_then(Path::parent).map(|prefix| prefix.join("lib"));
    let beside = beside.into_iter().flat_map(|lib| [lib.join("vonggac"), lib]);
    beside.chain([data_dir.join("lib")]).map(|folder| folder.join(FILE)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_where_it_looked_and_how_to_get_it() {
        let error = find(Some(Path::new("/nowhere/libchdb.so")), Path::new("/data")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/libchdb.so") && error.contains("deploy/fetch-engine"), "{error}");
    }

    #[test]
    fn looks_beside_the_program_and_in_the_data_folder_and_nowhere_that_depends_on_the_current_one() {
        let places = usual(Path::new("/data"));
        assert!(places.iter().all(|place| place.is_absolute()), "{places:?}");
        assert!(places[0].ends_with("lib/vonggac/libchdb.so"), "{places:?}");
        assert_eq!(places.last().unwrap(), Path::new("/data/lib/libchdb.so"));
    }
}
