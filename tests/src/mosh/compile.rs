//! Small programs in C (`tests/c`), compiled on the host and run in the machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Mosh;
use crate::places;

impl Mosh {
    /// Compiles `tests/c/NAME.c` and puts the program at `/usr/local/bin/NAME`; gives that path. The host's glibc must not be newer than
    /// Debian 12's.
    ///
    /// # Panics
    /// When it does not compile.
    #[track_caller]
    pub fn c_program(&self, name: &str) -> String {
        let program = places::scratch().join("c").join(name);
        compile(&source(name), &program, &["-O1", "-Wall", "-Wextra", "-Werror"]);
        self.copy_program(&program)
    }

    /// Compiles `tests/c/NAME.c` with these options of the compiler as well, and puts what comes out at `place` inside.
    ///
    /// # Panics
    /// When it does not compile.
    #[track_caller]
    pub fn c_file(&self, name: &str, options: &[&str], place: &str) {
        let made = places::scratch().join("c").join(place.rsplit('/').next().unwrap_or(place));
        compile(&source(name), &made, options);
        self.copy_file(&made, place);
    }

    /// Copies a program of the host to `/usr/local/bin`; gives its path there.
    ///
    /// # Panics
    /// When it cannot be copied.
    #[track_caller]
    pub fn copy_program(&self, program: &Path) -> String {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let inside = format!("/usr/local/bin/{name}");
        self.copy_file(program, &inside);
        inside
    }

    #[track_caller]
    fn copy_file(&self, file: &Path, inside: &str) {
        let bytes = std::fs::read(file).unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()));
        self.call(["/bin/sh", "-c", r#"cat >"$0" && chmod 755 "$0""#, inside]).stdin(bytes).run().success();
    }
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("c").join(format!("{name}.c"))
}

#[track_caller]
fn compile(source: &Path, program: &Path, options: &[&str]) {
    let made = |path: &Path| path.metadata().and_then(|data| data.modified()).ok();
    let headers = source.parent().and_then(|folder| folder.read_dir().ok()).into_iter().flatten().flatten();
    let headers = headers.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "h"));
    let newest = headers.filter_map(|header| made(&header)).chain(made(source)).max();
    if made(program) > newest {
        return;
    }
    let directory = program.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory).expect("make the directory for programs in C");
    // Tests run at the same time: compiled beside, then renamed.
    let beside = tempfile::NamedTempFile::new_in(directory).expect("a temporary file").into_temp_path();
    let compiler = Command::new("cc")
        .args(["-g", "-D_GNU_SOURCE", "-pthread"])
        .args(options)
        .arg("-o")
        .arg(&beside)
        .arg(source)
        .args(["-ldl"])
        .output()
        .expect("run cc");
    assert!(
        compiler.status.success(),
        "{} does not compile:\n{}",
        source.display(),
        String::from_utf8_lossy(&compiler.stderr)
    );
    beside.persist(program).expect("rename the program");
}
