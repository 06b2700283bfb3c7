//! Where public data lies that none of us wrote: the folder that `VONGGAC_CORPUS` names, by default `../shared/corpus` beside the
//! project. It is never copied into the project, and a test that does not find it says so.

use std::path::PathBuf;

use crate::site::root;

/// A part of the corpus; `None`, said aloud, when it is not there.
pub(crate) fn corpus(part: &str) -> Option<PathBuf> {
    let corpus =
        std::env::var_os("VONGGAC_CORPUS").map_or_else(|| root().join("../shared/corpus"), PathBuf::from);
    let path = corpus.join(part);
    if path.try_exists().unwrap_or_default() {
        return Some(path);
    }
    println!("SKIPPED: {} is not there (VONGGAC_CORPUS names the public corpus)", path.display());
    None
}
