//! `identityctl snapshot verify`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use schema::snapshot::examine::{self, Fault};
use schema::snapshot::layout::{Defect, FileKind, Header, Pair};
use schema::snapshot::view::View;
use serde_json::{Value, json};

use super::super::output::{Output, printable};
use super::super::{CliError, Exit};
use super::{header, progress};
use crate::snapshot::open::{OpenError, Raw, State, names, pair_of_name};

/// Files come and go while identityd publishes; so often the directory is looked at again.
const TRIES: u32 = 20;

/// One file, or a delta together with its base.
struct Checked {
    what: String,
    /// What it is, in a few words.
    about: String,
    faults: Vec<Fault>,
}

/// A file before it is checked.
struct File {
    path: PathBuf,
    /// What its name promises.
    pair: Option<Pair>,
    raw: Result<Raw, OpenError>,
}

/// The control page, where there is one.
type Page = Option<Result<State, OpenError>>;

pub(super) fn run(output: &Output, from: &Path) -> Result<Exit, CliError> {
    let (state, files) = if from.is_dir() { open_all(from)? } else { (None, vec![open_one(from)]) };
    let published = match &state {
        Some(Ok(state)) => state.pair().is_some(),
        Some(Err(_)) => true,
        None => !files.is_empty(),
    };
    if files.is_empty() && !published {
        return Err(OpenError::Nothing(from.into()).into());
    }
    let mut checked = check_all(&files);
    if let Some(state) = state {
        checked.insert(0, check_state(state, &files));
    }
    let faults: usize = checked.iter().map(|checked| checked.faults.len()).sum();
    let value = json!({
        "path": from.display().to_string(), "damaged": faults > 0, "files": checked.iter().map(json_of).collect::<Vec<_>>(),
    });
    output.show(&value, |_| render(from, &checked))?;
    Ok(if faults == 0 { Exit::Ok } else { Exit::Failed })
}

/// All snapshot files of a directory, and its control page.
fn open_all(directory: &Path) -> Result<(Page, Vec<File>), CliError> {
    let control = directory.join("control");
    for _ in 0..TRIES {
        let state = std::fs::symlink_metadata(&control).is_ok().then(|| State::read(&control));
        let mut files = Vec::new();
        for name in names(directory)? {
            if let Some(pair) = pair_of_name(&name) {
                files.push(File { pair: Some(pair), ..open_one(&directory.join(name)) });
            }
        }
        let gone = |file: &File| matches!(&file.raw, Err(OpenError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound);
        files.retain(|file| !gone(file));
        // Flipped in between: what the page named is swept away.
        let current = state.as_ref().and_then(|state| state.as_ref().ok()).and_then(State::pair);
        let has = |pair: Pair| files.iter().any(|file| file.pair == Some(pair));
        if current.is_none_or(|pair| has(pair) && has(Pair { delta: 0, ..pair })) || !moved(&control, current) {
            return Ok((state, files));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Err(CliError::Unavailable(format!("{} changes faster than it can be read; try again", directory.display())))
}

/// Whether the control page names another pair now.
fn moved(control: &Path, before: Option<Pair>) -> bool {
    State::read(control).is_ok_and(|state| state.pair() != before)
}

fn open_one(path: &Path) -> File {
    File { path: path.into(), pair: None, raw: Raw::open(path) }
}

fn check_all(files: &[File]) -> Vec<Checked> {
    let total =
        files.iter().filter_map(|file| file.raw.as_ref().ok()).map(|raw| examine::work(raw.bytes().len())).sum();
    let bar = progress::bytes("verifying", total);
    let mut step = |bytes: usize| bar.inc(bytes as u64);
    let results: Vec<_> = files.iter().map(|file| (file, check(file, &mut step))).collect();
    bar.finish_and_clear();
    // With each delta, its base.
    let bar = progress::bytes("verifying base and delta together", total);
    let mut step = |bytes: usize| bar.inc(bytes as u64);
    let mut checked = Vec::new();
    for (file, result) in &results {
        checked.push(told(file, result));
        let Ok(delta) = result else { continue };
        if delta.kind == FileKind::Delta && file.pair.is_some() {
            checked.extend(together(file, delta, &results, &mut step));
        }
    }
    bar.finish_and_clear();
    checked
}

fn check(file: &File, step: &mut dyn FnMut(usize)) -> Result<Header, Vec<Fault>> {
    let raw = file.raw.as_ref().map_err(|error| {
        let defect = if let OpenError::Defect { defect, .. } = error { *defect } else { Defect::Short };
        vec![Fault { defect, at: None, what: error.to_string() }]
    })?;
    let header = examine::file(raw.bytes(), step)?;
    let named = file.pair.is_none_or(|pair| pair == header.pair);
    if named {
        Ok(header)
    } else {
        Err(vec![Fault { defect: Defect::Foreign, at: Some(72), what: "another number than in its name".into() }])
    }
}

fn told(file: &File, result: &Result<Header, Vec<Fault>>) -> Checked {
    let what = file
        .path
        .file_name()
        .map_or_else(|| file.path.display().to_string(), |name| name.to_string_lossy().into_owned());
    match result {
        Ok(header) => Checked {
            what,
            about: format!(
                "{}, generation {}, {} logins, {} groups",
                header::kind(header),
                header.generation,
                header.counts.logins,
                header.counts.groups
            ),
            faults: Vec::new(),
        },
        Err(faults) => Checked { what, about: String::new(), faults: faults.clone() },
    }
}

/// A whole delta with its base, if that is whole too.
fn together(
    file: &File,
    delta: &Header,
    results: &[(&File, Result<Header, Vec<Fault>>)],
    step: &mut dyn FnMut(usize),
) -> Option<Checked> {
    let number = Pair { delta: 0, ..delta.pair };
    let what = format!("base.{} with delta.{}.{}", number.base, number.base, delta.pair.delta);
    let base = results.iter().find(|(file, _)| file.pair == Some(number));
    let Some((base_file, base)) = base else {
        let missing = Fault { defect: Defect::Foreign, at: None, what: format!("base.{} is not here", number.base) };
        return Some(Checked { what, about: String::new(), faults: vec![missing] });
    };
    // A damaged base has been told of.
    let base = base.as_ref().ok()?;
    let (base_raw, delta_raw) = (base_file.raw.as_ref().ok()?, file.raw.as_ref().ok()?);
    let (base, delta) = (View::new(base_raw.bytes(), base)?, View::new(delta_raw.bytes(), delta)?);
    let faults = examine::pair(base, delta, step).err().unwrap_or_default();
    Some(Checked { what, about: "every entry of the two together is found in every way".into(), faults })
}

/// The control page, against the files that are there.
fn check_state(state: Result<State, OpenError>, files: &[File]) -> Checked {
    let what = "control".to_owned();
    let fault = |defect, what: String| vec![Fault { defect, at: None, what }];
    let state = match state {
        Ok(state) => state,
        Err(OpenError::Defect { defect, .. }) => {
            return Checked { what, about: String::new(), faults: fault(defect, "the control page".into()) };
        }
        Err(error) => return Checked { what, about: String::new(), faults: fault(Defect::Short, error.to_string()) },
    };
    let Some(pair) = state.pair() else {
        return Checked { what, about: "nothing is published: readers ask the socket".into(), faults: Vec::new() };
    };
    let about = format!(
        "{}, base {}, delta {}, generation {}",
        header::visibility(&state),
        pair.base,
        pair.delta,
        state.generation
    );
    let mut faults = Vec::new();
    for wanted in [Pair { delta: 0, ..pair }, pair] {
        let file = files.iter().find(|file| file.pair == Some(wanted));
        let header = file.and_then(|file| file.raw.as_ref().ok()).map(|raw| Header::parse(raw.bytes()));
        match header {
            None => faults.extend(fault(
                Defect::Foreign,
                format!("base {}, delta {} is current and not here", wanted.base, wanted.delta),
            )),
            Some(Ok(header)) if header.directory != state.control.directory => {
                faults.extend(fault(
                    Defect::Foreign,
                    format!("base {}, delta {} is of another directory", wanted.base, wanted.delta),
                ));
            }
            _ => {}
        }
        if pair.delta == 0 {
            break;
        }
    }
    Checked { what, about, faults }
}

fn json_of(checked: &Checked) -> Value {
    let faults: Vec<_> = checked
        .faults
        .iter()
        .map(|fault| json!({"at": fault.at, "what": fault.what, "defect": fault.defect.to_string()}))
        .collect();
    json!({"file": checked.what, "about": checked.about, "whole": faults.is_empty(), "faults": faults})
}

fn render(from: &Path, checked: &[Checked]) -> String {
    let mut text = String::new();
    let width = checked.iter().map(|checked| checked.what.len()).max().unwrap_or(0);
    for Checked { what, about, faults } in checked {
        if faults.is_empty() {
            text.push_str(&format!("ok       {what:<width$}  {about}\n"));
            continue;
        }
        text.push_str(&format!("DAMAGED  {what}\n"));
        for fault in faults {
            text.push_str(&format!("           {}\n", printable(&fault.to_string())));
        }
        if faults.len() == examine::MOST {
            text.push_str("           … and maybe more\n");
        }
    }
    let damaged = checked.iter().filter(|checked| !checked.faults.is_empty()).count();
    text.push_str(&match damaged {
        0 => format!("\n{}: whole\n", from.display()),
        _ => format!(
            "\n{}: damaged\nLet identityd write them anew: restart it (service identityd restart). It verifies every byte first, takes the copy \
             on the disk\nwhere the files are damaged, and else reads the whole directory. If it happens again, look at memory and disk of this host.\n",
            from.display()
        ),
    });
    text
}
