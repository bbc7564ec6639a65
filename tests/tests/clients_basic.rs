//! The programs that everybody uses, on logins of the directory. Each check also runs on local accounts made by useradd(8): what
//! Debian's own files give is what the directory has to give.

use tests::{Login, Mosh, boot};

/// Runs a check where ana and ben are local accounts, and where they are logins of the directory.
fn on_both(check: impl Fn(&Mosh)) {
    let local = boot!(Mosh::builder().bare().prepare(
        "for name in ana ben; do useradd -m -s /bin/bash -c 'Somebody' $name; done
         echo ana:secret | chpasswd; groupadd club; gpasswd -M ana,ben club"
    ));
    check(&local);
    let names = ["ana", "ben"];
    let directory = boot!(Mosh::builder().logins(names.map(|name| Login::new(name).password("secret"))));
    directory.identityctl(["group", "add", "club"]).success();
    for name in names {
        directory.identityctl(["group", "add-member", "club", name]).success();
    }
    check(&directory);
}

/// The fields of a line of getent(1).
fn getent(mosh: &Mosh, database: &str, key: &str) -> Vec<String> {
    mosh.run(["getent", database, key]).success().text().split(':').map(String::from).collect()
}

#[test]
fn getent_finds_logins_and_groups_by_name_and_by_id() {
    on_both(|mosh| {
        let by_name = getent(mosh, "passwd", "ana");
        assert_eq!((by_name[0].as_str(), by_name[1].as_str(), by_name[6].as_str()), ("ana", "x", "/bin/bash"));
        assert_eq!(getent(mosh, "passwd", &by_name[2]), by_name);
        let group = getent(mosh, "group", "club");
        assert_eq!((group[0].as_str(), group[3].as_str()), ("club", "ana,ben"));
        assert_eq!(getent(mosh, "group", &group[2]), group);
        assert_eq!(getent(mosh, "group", &by_name[3])[0], "ana");
        for (database, key) in
            [("passwd", "nosuchname"), ("passwd", "54321"), ("group", "nosuchname"), ("group", "54321")]
        {
            mosh.run(["getent", database, key]).exit(2);
        }
    });
}

#[test]
fn enumeration_lists_everybody_once_after_the_local_accounts() {
    on_both(|mosh| {
        for (database, wanted) in [("passwd", ["ana", "ben"]), ("group", ["ana", "club"])] {
            let list = mosh.run(["getent", database]).success();
            let names: Vec<_> = list.stdout.lines().filter_map(|line| line.split(':').next()).collect();
            assert_eq!(names.first(), Some(&"root"), "{list}");
            for name in wanted {
                assert_eq!(names.iter().filter(|found| **found == name).count(), 1, "{name} in {list}");
            }
        }
    });
}

#[test]
fn shadow_is_for_root_only() {
    on_both(|mosh| {
        let line = getent(mosh, "shadow", "ana");
        assert_eq!((line[0].as_str(), line.len()), ("ana", 9));
        mosh.call(["getent", "shadow", "ana"]).user("ana").run().exit(2);
        mosh.call(["getent", "shadow", "ben"]).user("ana").run().exit(2);
    });
}

#[test]
fn id_shows_all_groups_and_initgroups_gives_them_to_a_process() {
    on_both(|mosh| {
        assert_eq!(mosh.run(["id", "-Gn", "ana"]).success().text(), "ana club");
        assert_eq!(mosh.sh_as("ana", "id -un; id -Gn").success().text(), "ana\nana club");
        mosh.run(["id", "nosuchname"]).exit(1);
    });
}

#[test]
fn chown_ls_stat_and_find_know_the_owner() {
    on_both(|mosh| {
        mosh.sh("cd /tmp && touch hers nobodys && chown ana:club hers && chown 54321:54321 nobodys").success();
        let listed = mosh.run(["ls", "-l", "/tmp/hers"]).success();
        assert!(listed.stdout.contains(" ana club "), "{listed}");
        assert_eq!(mosh.run(["stat", "-c", "%U:%G", "/tmp/hers"]).success().text(), "ana:club");
        assert_eq!(mosh.run(["find", "/tmp", "-user", "ana"]).success().text(), "/tmp/hers");
        assert_eq!(mosh.run(["find", "/tmp", "-group", "club"]).success().text(), "/tmp/hers");
        assert_eq!(mosh.run(["find", "/tmp", "-nouser", "-nogroup"]).success().text(), "/tmp/nobodys");
        mosh.run(["chown", "nosuchname", "/tmp/hers"]).failure();
    });
}

#[test]
fn acls_and_archives_keep_names() {
    on_both(|mosh| {
        mosh.sh("touch /var/tmp/shared && setfacl -m u:ben:r,g:club:rw /var/tmp/shared").success();
        let acl = mosh.run(["getfacl", "-c", "/var/tmp/shared"]).success();
        assert!(acl.stdout.contains("user:ben:r--") && acl.stdout.contains("group:club:rw-"), "{acl}");
        let archived =
            mosh.sh("touch /tmp/hers && chown ana:club /tmp/hers && tar -C /tmp -c hers | tar -tv").success();
        assert!(archived.stdout.contains("ana/club"), "{archived}");
    });
}

#[test]
fn newgrp_changes_to_a_group_of_the_login() {
    on_both(|mosh| {
        assert_eq!(mosh.call(["newgrp", "club"]).user("ana").stdin("id -gn\n").run().success().text(), "club");
    });
}

#[test]
fn python_reads_pwd_grp_and_spwd() {
    on_both(|mosh| {
        let script = "import pwd, grp, spwd, os
ana = pwd.getpwnam('ana')
assert pwd.getpwuid(ana.pw_uid) == ana
assert ana.pw_uid >= 1000 and ana.pw_gid >= 1000 and ana.pw_dir.startswith('/')
assert grp.getgrnam('club').gr_mem == ['ana', 'ben']
assert [p.pw_name for p in pwd.getpwall()].count('ana') == 1
assert [g.gr_name for g in grp.getgrall()].count('club') == 1
assert sorted(os.getgrouplist('ana', ana.pw_gid)) == sorted([ana.pw_gid, grp.getgrnam('club').gr_gid])
assert spwd.getspnam('ana').sp_namp == 'ana'
for look_up, key in (pwd.getpwnam, 'nosuchname'), (grp.getgrnam, 'nosuchname'), (pwd.getpwuid, 54321), (grp.getgrgid, 54321):
    try:
        look_up(key)
    except KeyError:
        continue
    raise AssertionError(key)
print('fine')
";
        let run = mosh.call(["python3", "-W", "ignore", "-c", script]).run().success();
        assert_eq!(run.text(), "fine");
    });
}
