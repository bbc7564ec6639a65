//! Boots a test machine and runs programs in it; see [`tests::namespace`].

use std::process::exit;

use tests::namespace::{Layers, NamespaceError, boot, enter};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(code) => exit(code),
        Err(error) => {
            // init's stdout is what the test reads first.
            if arguments.first().is_some_and(|word| word == "init" || word == "boot") {
                println!("{error}");
            }
            eprintln!("mosh-init: {error}");
            exit(126);
        }
    }
}

fn run(arguments: &[String]) -> Result<i32, NamespaceError> {
    match arguments {
        [word, rest @ ..] if word == "boot" => boot::outside(rest),
        [word, scratch, upper, name, shared, lower @ ..] if word == "init" => {
            let layers = Layers {
                scratch: scratch.into(),
                upper: upper.into(),
                name: name.clone(),
                shared: shared.into(),
                lower: lower.iter().map(Into::into).collect(),
            };
            boot::init(&layers).map(|()| 0)
        }
        [word, pid, argv @ ..] if word == "enter" => {
            enter::enter(pid.parse().map_err(|_| NamespaceError::Usage)?, argv)
        }
        _ => Err(NamespaceError::Usage),
    }
}
