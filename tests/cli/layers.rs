//! The layers of the program: a module imports only modules after it in this list.

use std::fs;
use std::path::{Path, PathBuf};

const LAYERS: &str = "main commands completion echo_agent turn backend_selection context sessions agent cli skills help records \
    store process render backend lock input ui paths env error schema json random digest session late_signal time sort sys";

#[test]
fn imports_point_down_only() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let rank = |module: &str| LAYERS.split_whitespace().position(|layer| layer == module);
    let mut wrong = Vec::new();
    for file in rust_files(&src) {
        let path = file.strip_prefix(&src).unwrap();
        let module = path.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs");
        let own = rank(module).unwrap_or_else(|| panic!("{module} is not in the list of layers"));
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap(); // tests may import upward
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for import in line.split("crate::").skip(1) {
                let import: String = import.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if import != module && rank(&import).is_some_and(|rank| rank <= own) {
                    wrong.push(format!("src/{} imports src/{import}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "these imports point up:\n{}", wrong.join("\n"));
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let (dirs, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let files = files.into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs"));
    files.chain(dirs.iter().flat_map(|dir| rust_files(dir))).collect()
}
