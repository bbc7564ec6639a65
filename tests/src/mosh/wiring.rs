//! After the installation: the service user, nsswitch, PAM, sshd. The product ships a script for it, which runs here.

use super::Mosh;

const SETUP: &str = "/usr/lib/identityd/setup";

impl Mosh {
    pub(super) fn wire(&self) {
        if self.exists(SETUP) {
            self.run([SETUP]).success();
        } else {
            self.wire_by_hand();
        }
    }

    /// REMOVE when the product ships its set-up script: does the same, as far as there is something to wire.
    fn wire_by_hand(&self) {
        self.sh(r#"
            useradd --system --home-dir /var/lib/identityd --no-create-home --shell /usr/sbin/nologin identityd
            install -d -o identityd -g identityd -m 0700 /var/lib/identityd
            install -d -o identityd -g identityd -m 0755 /run/identityd
            install -d -m 0755 /etc/identityd
            test ! -e /etc/identityd/identityd.toml || chown root:identityd /etc/identityd/identityd.toml
            sed -i -e 's/^\(passwd\|group\|shadow\):.*/\1: files mayfirst/' -e '/^initgroups:/d' /etc/nsswitch.conf
            pam-auth-update --package
            mkdir -p /etc/ssh/sshd_config.d
            {
                echo 'AuthorizedKeysCommand /usr/bin/identityctl ssh-keys %u'
                echo 'AuthorizedKeysCommandUser identityd'
                echo 'KbdInteractiveAuthentication yes'
                echo 'UsePAM yes'
            } >/etc/ssh/sshd_config.d/identityd.conf
        "#)
            .success();
    }
}
