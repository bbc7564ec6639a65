//! Hashes of every method, and what is refused before it costs anything. The vectors are of crypt(3) of Debian 12.

use super::*;
use crate::config;

fn hash(text: &str) -> PasswordHash {
    text.parse().unwrap()
}

const VECTORS: [&str; 12] = [
    "$y$j75$k2XAnEHBqQ1Ct2aMXFKNa/HAmA1BpMnBsYHMWB4NZN4$PIXfxkMnVnTGkm11bblLyiZ5dMS9R8YnFBqe0UoF.q9",
    "$gy$j75$k2XAnEHBqQ1Ct2aMXFKNa/HAmA1BpMnBsYHMWB4NZN4$5bpQVSvpKJRd/WxiW4jR0r3ZdMTShX37Sk5o6w1hxPA",
    "$7$BU..../....k2XAnEHBqQ1Ct2aMXFKNa/HAmA1BpMnBsYHMWB4NZN4$0GznWaXs..KTrM9kwBeDlnNE1aqivtnmxC7N3jN9yO/",
    "$2b$04$KBCwKxOzLha2MUDgW0PjXexGfB5dmDvvvgEVjeeXiTo87i0yXWYau",
    "$2y$04$KBCwKxOzLha2MUDgW0PjXexGfB5dmDvvvgEVjeeXiTo87i0yXWYau",
    "$2a$04$KBCwKxOzLha2MUDgW0PjXexGfB5dmDvvvgEVjeeXiTo87i0yXWYau",
    "$6$k2XAnEHBqQ1Ct2aM$KDBGOLClapqzK43U1GDLsBvQ8UyKzV4Gil5wjmo4po8DDQYfilvtBtdIBewkrDZsDiH9kMMRkq9YqOGSFdm16/",
    "$6$rounds=1234$k2XAnEHBqQ1Ct2aM$uhQXVCFVSkvEOumbKM9RLwWe9qosGeWihQxfVQbWm3149w7aq5KVRTyPF/NsX8KfqxmMZ3At2zJ7piWI0QkiU1",
    "$5$k2XAnEHBqQ1Ct2aM$GC1EfsiCksyq0SBhjt/RQhnnwK5wFNHaj/WQGO7Nu..",
    "$1$k2XAnEHB$gSpCGj8tputEsDyOYa0191",
    "_J9..k2XAoIsVp/eP7zk",
    "klg1epIbEFEI6",
];

#[test]
fn the_right_password_matches_in_every_format_and_a_wrong_one_in_none() {
    for text in VECTORS {
        assert_eq!(verify(b"correct horse", &hash(text)), Ok(true), "{text}");
        assert_eq!(verify(b"wrong", &hash(text)), Ok(false), "{text}");
        assert_eq!(verify(b"", &hash(text)), Ok(false), "{text}");
        assert_eq!(verify(b"correct horse\0", &hash(text)), Ok(false), "{text}");
    }
}

#[test]
fn a_hash_of_absurd_cost_is_not_computed() {
    for text in [
        "$2b$31$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234",
        "$2b$xx$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234",
        "$6$rounds=999999999$salt$hash",
        "$5$rounds=4294967296$salt$hash",
        "$y$jFT$salt$hash",
        "$y$j9zzzzz$salt$hash",
        "$y$$salt$hash",
        "$7$T6..../....salt$hash",
        "$7$A",
        "_zzzzsaltabcdefghijk",
        "!",
        "*",
    ] {
        assert!(verify(b"x", &hash(text)).is_err(), "{text}");
    }
}

#[test]
fn a_new_hash_is_yescrypt_and_each_has_its_own_salt() {
    let one = new_hash(b"correct horse").unwrap();
    assert!(one.expose().starts_with("$y$j9T$"));
    assert_eq!(verify(b"correct horse", &one), Ok(true));
    assert_ne!(one, new_hash(b"correct horse").unwrap());
    assert_eq!(new_hash(b""), Err(HashingError::Empty));
    assert_eq!(new_hash(b"a\0b"), Err(HashingError::Nul));
    assert_eq!(new_hash(&[b'x'; 512]), Err(HashingError::TooLong));
}

fn attempt<'a>(login: impl Into<Option<&'a str>>, origin: impl Into<Option<&'a str>>) -> Attempt<'a> {
    Attempt { login: login.into(), origin: origin.into(), began: std::time::Instant::now() }
}

#[test]
fn one_login_cannot_fill_the_queue() {
    let pool = Pool::new(config::Auth { queue: 5, queue_per_login: 2, ..config::Auth::default() }).unwrap();
    let places: Vec<_> = (0..2).map(|_| pool.enter(attempt("ada", None)).unwrap()).collect();
    assert_eq!(pool.enter(attempt("ada", None)).unwrap_err(), Crowded::Login);
    let others: Vec<_> = ["b", "c", "d"].map(|name| pool.enter(attempt(name, None)).unwrap()).into();
    assert_eq!(pool.enter(attempt("e", None)).unwrap_err(), Crowded::Total);
    drop((places, others));
    assert!(pool.enter(attempt("ada", None)).is_ok());
}

#[test]
fn neither_one_origin_nor_invented_names_can_fill_the_queue() {
    let auth = config::Auth { queue: 16, queue_per_login: 2, queue_per_address: 4, ..config::Auth::default() };
    let pool = Pool::new(auth).unwrap();
    let names: Vec<String> = (0..5).map(|at| format!("q{at}")).collect();
    let (last, first) = names.split_last().unwrap();
    let places: Vec<_> = first.iter().map(|name| pool.enter(attempt(name.as_str(), "ana")).unwrap()).collect();
    assert_eq!(pool.enter(attempt(last.as_str(), "ana")).unwrap_err(), Crowded::Origin);
    let nobody: Vec<_> = first.iter().map(|host| pool.enter(attempt(None, host.as_str())).unwrap()).collect();
    assert_eq!(pool.enter(attempt(None, "elsewhere")).unwrap_err(), Crowded::Nobody);
    assert!(pool.enter(attempt("bea", "elsewhere")).is_ok());
    drop((places, nobody));
    assert!(pool.enter(attempt(last.as_str(), "ana")).is_ok());
}

#[tokio::test]
async fn nobody_is_verified_against_the_dummy_and_never_matches() {
    let pool = Pool::new(config::Auth::default()).unwrap();
    let nobodys = Secret::new(b"nobody's password".to_vec());
    assert_eq!(pool.verify(nobodys.clone(), None).await, Some(Ok(false)));
    assert_eq!(pool.verify(nobodys, Some(PasswordHash::none())).await, Some(Ok(false)));
}
