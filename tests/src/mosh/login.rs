//! A login that a test machine is to have, made with identityctl as an administrator would.

use super::Mosh;

/// A login: `Login::new("ana").password("secret").capabilities(["shell", "sftp"])`.
#[derive(Debug, Clone)]
pub struct Login {
    name: String,
    password: Option<String>,
    capabilities: Vec<String>,
    options: Vec<String>,
}

impl Login {
    /// Active, with the capability `shell`, and without a password.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), password: None, capabilities: vec!["shell".into()], options: Vec::new() }
    }

    /// Has this password.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Has these capabilities, and no others.
    #[must_use]
    pub fn capabilities<'c>(mut self, capabilities: impl IntoIterator<Item = &'c str>) -> Self {
        self.capabilities = capabilities.into_iter().map(String::from).collect();
        self
    }

    /// Any other option of `identityctl login add`, such as `option("--home", "/home/ana")`.
    #[must_use]
    pub fn option(mut self, option: &str, value: &str) -> Self {
        self.options.extend([option.into(), value.into()]);
        self
    }
}

impl Mosh {
    /// Adds a login to the directory of this machine.
    ///
    /// # Panics
    /// When identityctl refuses it.
    #[track_caller]
    pub fn add(&self, login: &Login) {
        let mut add: Vec<String> = ["login", "add", &login.name].map(String::from).into();
        if !login.capabilities.is_empty() {
            add.extend(["--capabilities".into(), login.capabilities.join(",")]);
        }
        add.extend_from_slice(&login.options);
        let mut call = self.call(["identityctl".to_string()].into_iter().chain(add));
        if let Some(password) = &login.password {
            call = call.argument("--stdin").stdin(format!("{password}\n"));
        }
        call.run().success();
    }

    /// Gives a login a password, as an administrator.
    ///
    /// # Panics
    /// When identityctl refuses it.
    #[track_caller]
    pub fn set_password(&self, login: &str, password: &str) {
        self.call(["identityctl", "login", "passwd", login, "--stdin"]).stdin(format!("{password}\n")).run().success();
    }
}
