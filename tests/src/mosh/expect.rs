//! Driving a program that talks to a terminal, through Debian's expect(1).

use super::{Mosh, Output};

/// `want PATTERN` waits for a regular expression; `finish` waits for the end and exits as the program did.
const PRELUDE: &str = r#"
set timeout 20
log_user 1
match_max 100000
proc want {pattern} {
    expect {
        -re $pattern { return }
        timeout { puts "\nexpect: waited in vain for: $pattern"; exit 97 }
        eof { puts "\nexpect: the program ended before: $pattern"; exit 98 }
    }
}
proc finish {} {
    expect { eof {} timeout { puts "\nexpect: the program does not end"; exit 97 } }
    lassign [wait] pid spawn_id os_error code
    exit $code
}
"#;

impl Mosh {
    /// Runs a script of expect(1) as root. It knows two more words: `want {regular expression}` and, last, `finish`.
    ///
    /// ```ignore
    /// mosh.expect(r#"spawn su - ana; want {Password:}; send "secret\r"; want {\$ }; send "exit\r"; finish"#).success();
    /// ```
    pub fn expect(&self, script: &str) -> Output {
        self.call(["expect", "-f", "-"]).stdin(format!("{PRELUDE}\n{script}\n")).run()
    }

    /// The same as a login.
    pub fn expect_as(&self, login: &str, script: &str) -> Output {
        self.call(["expect", "-f", "-"]).stdin(format!("{PRELUDE}\n{script}\n")).user(login).run()
    }
}
