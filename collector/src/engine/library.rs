//! Where `libchdb.so` is: it is no part of the program, because it is 566 MB and few need it.

use std::path::{Path, PathBuf};

use anyhow::bail;

/// Names a library that is used before the usual places.
pub(super) const LIBRARY_ENV: &str = "VONGGAC_CHDB";
const FILE: &str = "libchdb.so";

/// Looks for the library: as told, by the environment, beside the program, in the data folder, in the folder of
/// `deploy/fetch-engine`.
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
    let beside = std::env::current_exe()
        .ok()
        .and_then(|program| Some(program.parent()?.parent()?.join("lib").join(FILE)));
    let here = Path::new(".vonggac/lib").join(FILE);
    beside.into_iter().chain([data_dir.join("lib").join(FILE), here]).collect()
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
    fn looks_in_the_data_folder() {
        assert!(usual(Path::new("/data")).contains(&PathBuf::from("/data/lib/libchdb.so")));
    }
}
