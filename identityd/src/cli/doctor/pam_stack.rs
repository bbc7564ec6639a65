//! A PAM stack as text, and what libpam makes of its modules' answers (Linux-PAM 1.5 `libpam/pam_dispatch.c`).

use std::collections::BTreeMap;

/// The return codes that the checks need, by the names of pam.conf(5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    Success,
    AuthErr,
    PermDenied,
    AcctExpired,
    AuthinfoUnavail,
    UserUnknown,
    NewAuthtokReqd,
    AuthtokErr,
    Maxtries,
    SessionErr,
    Ignore,
}

impl Code {
    fn word(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::AuthErr => "auth_err",
            Self::PermDenied => "perm_denied",
            Self::AcctExpired => "acct_expired",
            Self::AuthinfoUnavail => "authinfo_unavail",
            Self::UserUnknown => "user_unknown",
            Self::NewAuthtokReqd => "new_authtok_reqd",
            Self::AuthtokErr => "authtok_err",
            Self::Maxtries => "maxtries",
            Self::SessionErr => "session_err",
            Self::Ignore => "ignore",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Ignore,
    Ok,
    Done,
    Bad,
    Die,
    Reset,
    Jump(usize),
}

/// One line of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    control: String,
    /// The module's file name, without its folder.
    pub(super) module: String,
}

/// The lines of one type (`auth`, `account`, …) of a file, with its includes put in their place.
pub(super) fn lines(files: &BTreeMap<String, String>, file: &str, kind: &str) -> Vec<Line> {
    let mut out = Vec::new();
    collect(files, file, kind, 0, &mut out);
    out
}

fn collect(files: &BTreeMap<String, String>, file: &str, kind: &str, depth: usize, out: &mut Vec<Line>) {
    // libpam stops at 32 levels (PAM_SUBSTACK_MAX_LEVEL is 16); a loop of includes must end here too.
    let Some(text) = files.get(file).filter(|_| depth < 16) else {
        return;
    };
    for line in text.replace("\\\n", " ").lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if let Some(included) = line.strip_prefix("@include") {
            collect(files, included.trim(), kind, depth + 1, out);
            continue;
        }
        let Some((first, rest)) = line.split_once(char::is_whitespace) else {
            continue;
        };
        if !first.trim_start_matches('-').eq_ignore_ascii_case(kind) {
            continue;
        }
        let rest = rest.trim_start();
        let split =
            if rest.starts_with('[') { rest.find(']').map(|end| end + 1) } else { rest.find(char::is_whitespace) };
        let (control, module) = rest.split_at(split.unwrap_or(rest.len()));
        let module = module.split_whitespace().next().unwrap_or_default();
        if matches!(control, "include" | "substack") {
            collect(files, module, kind, depth + 1, out);
            continue;
        }
        let module = module.rsplit('/').next().unwrap_or_default().to_owned();
        out.push(Line { control: control.to_ascii_lowercase(), module });
    }
}

/// What the stack returns when each module answers what `answer` says.
pub(super) fn run(stack: &[Line], answer: impl Fn(&str) -> Code) -> Code {
    // `None`: no impression yet.
    let mut positive: Option<bool> = None;
    let mut status = Code::PermDenied;
    let mut at = 0;
    while let Some(line) = stack.get(at) {
        at += 1;
        let code = answer(&line.module);
        match action(&line.control, code) {
            Action::Ignore => {}
            action @ (Action::Ok | Action::Done) => {
                if code != Code::Ignore && (positive.is_none() || (positive == Some(true) && status == Code::Success)) {
                    positive = Some(true);
                    status = code;
                }
                if action == Action::Done && positive == Some(true) {
                    return status;
                }
            }
            action @ (Action::Bad | Action::Die) => {
                if positive != Some(false) {
                    positive = Some(false);
                    status = if code == Code::Ignore { Code::PermDenied } else { code };
                }
                if action == Action::Die {
                    return status;
                }
            }
            Action::Reset => {
                positive = None;
                status = Code::PermDenied;
            }
            Action::Jump(over) => at += over,
        }
    }
    // A stack in which nobody said yes is a no.
    if status == Code::Success && positive != Some(true) { Code::PermDenied } else { status }
}

fn action(control: &str, code: Code) -> Action {
    let spelled = match control {
        "required" => "success=ok new_authtok_reqd=ok ignore=ignore default=bad",
        "requisite" => "success=ok new_authtok_reqd=ok ignore=ignore default=die",
        "sufficient" => "success=done new_authtok_reqd=done default=ignore",
        "optional" => "success=ok new_authtok_reqd=ok default=ignore",
        brackets => brackets.trim_start_matches('[').trim_end_matches(']'),
    };
    let of = |word: &str| {
        spelled
            .split_whitespace()
            .filter_map(|pair| pair.split_once('='))
            .find(|(name, _)| *name == word)
            .map(|pair| pair.1)
    };
    match of(code.word()).or_else(|| of("default")) {
        Some("ignore") => Action::Ignore,
        Some("ok") => Action::Ok,
        Some("done") => Action::Done,
        Some("die") => Action::Die,
        Some("reset") => Action::Reset,
        // libpam takes what it cannot read, and what is not said, for bad.
        other => other.and_then(|number| number.parse().ok()).map_or(Action::Bad, Action::Jump),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(text: &str) -> Vec<Line> {
        lines(&BTreeMap::from([("f".to_owned(), text.to_owned())]), "f", "auth")
    }

    fn answers(module: &str) -> Code {
        match module {
            "yes.so" | "pam_permit.so" => Code::Success,
            "ign.so" => Code::Ignore,
            _ => Code::AuthErr,
        }
    }

    #[test]
    fn the_classic_words_do_what_pam_conf_says() {
        for (text, code) in [
            ("auth required yes.so\n", Code::Success),
            ("auth required no.so\nauth required yes.so\n", Code::AuthErr),
            ("auth sufficient yes.so\nauth requisite no.so\n", Code::Success),
            ("auth sufficient no.so\nauth required yes.so\n", Code::Success),
            ("auth required no.so\nauth sufficient yes.so\n", Code::AuthErr),
            ("auth optional no.so\n", Code::PermDenied),
            ("auth required ign.so\n", Code::PermDenied),
            ("", Code::PermDenied),
        ] {
            assert_eq!(run(&stack(text), answers), code, "{text}");
        }
    }

    #[test]
    fn a_jump_skips_the_denial_and_says_nothing_itself() {
        let debian =
            "auth [success=1 default=ignore] X.so nullok\nauth requisite pam_deny.so\nauth required pam_permit.so\n";
        assert_eq!(run(&stack(&debian.replace('X', "yes")), answers), Code::Success);
        assert_eq!(run(&stack(&debian.replace('X', "no")), answers), Code::AuthErr);
        assert_eq!(
            run(&stack("auth [success=1 default=ignore] yes.so\nauth requisite pam_deny.so\n"), answers),
            Code::PermDenied
        );
    }

    #[test]
    fn includes_are_followed_and_a_loop_of_them_ends() {
        let files = BTreeMap::from([
            ("a".to_owned(), "@include b\nauth required /lib/x/yes.so arg\n-auth optional gone.so".to_owned()),
            ("b".to_owned(), "auth include a\naccount required no.so".to_owned()),
        ]);
        assert!(lines(&files, "a", "auth").iter().all(|line| line.module == "yes.so" || line.module == "gone.so"));
    }
}
