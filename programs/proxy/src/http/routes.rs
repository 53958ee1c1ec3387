//! Who may call what: the longest prefix that a path has decides.

use http::Uri;
use http::uri::PathAndQuery;

use super::answer::Refusal;
use crate::config::Route;
use crate::path;
use crate::route::is_allowed;

/// Judges a request's path, and replaces it by the one that was judged: what the upstream sees is what
/// was allowed. Without routes, everything may pass as it is.
pub(super) fn judge(routes: &[Route], account: Option<&str>, uri: &mut Uri) -> Result<(), Refusal> {
    if routes.is_empty() {
        return Ok(());
    }
    if !uri.path().starts_with('/') {
        return Err(Refusal::bad_request("the path does not begin with a slash"));
    }
    let path = path::normalise(uri.path())
        .map_err(|why| Refusal::bad_request(format!("the path is ambiguous: it has {why}")))?;
    // Some servers leave parameters out: both readings have to be allowed.
    let bare = path::strip_parameters(&path);
    if !(is_allowed(routes, account, &path) && is_allowed(routes, account, &bare)) {
        return Err(Refusal::FORBIDDEN);
    }
    if path != uri.path() {
        let rewritten = match uri.query() {
            Some(query) => format!("{path}?{query}"),
            None => path,
        };
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = Some(
            PathAndQuery::try_from(rewritten)
                .map_err(|_| Refusal::bad_request("the path cannot be written"))?,
        );
        *uri = Uri::from_parts(parts)
            .map_err(|_| Refusal::bad_request("the path cannot be written"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Peers;

    fn route(prefix: &str, accounts: Option<&[&str]>) -> Route {
        let allow = accounts.map_or(Peers::Any, |accounts| {
            Peers::matching(accounts.iter().map(ToString::to_string)).unwrap()
        });
        Route { prefix: prefix.to_owned().try_into().unwrap(), allow }
    }

    fn judged(routes: &[Route], account: &str, path: &str) -> Option<String> {
        let mut uri: Uri = path.parse().unwrap();
        judge(routes, Some(account), &mut uri).ok().map(|()| uri.to_string())
    }

    #[test]
    fn the_longest_prefix_decides_and_no_spelling_slips_past() {
        let routes =
            [route("/", None), route("/admin", Some(&["root@x.test"])), route("/admin/help", None)];
        for path in [
            "/admin",
            "/admin/",
            "//admin",
            "/./admin",
            "/x/../admin",
            "/%61dmin",
            "/admin/help/..",
            "/x/%2e%2e/admin",
            "/admin;x=1",
            "/admin;x/y",
            "/a/..;/admin",
            "/%2e/admin",
            "/admin//x",
            "/x/%2E./admin?q=1",
            "/admin%2f",
            "/%5cadmin",
            "/x%2f..%2fadmin",
        ] {
            assert_eq!(judged(&routes, "user@x.test", path), None, "{path}");
        }
        for path in ["/", "/administrator", "/admin/help", "/admin/help/x", "/x?next=/admin"] {
            assert_eq!(judged(&routes, "user@x.test", path).as_deref(), Some(path));
        }
        assert_eq!(
            judged(&routes, "root@x.test", "/x/..//%61dmin/?a=%2f").as_deref(),
            Some("/admin/?a=%2f"),
            "the upstream gets what was judged"
        );
        let only = [route("/a", None)];
        assert_eq!(judged(&only, "user@x.test", "/b"), None, "no route is no permission");
        assert_eq!(judged(&only, "user@x.test", "*"), None);
        assert_eq!(judged(&[], "user@x.test", "//a/../b").as_deref(), Some("//a/../b"));
        assert_eq!(judged(&[route("/", Some(&[]))], "user@x.test", "/"), None);
    }
    /// One character in one of its spellings.
    fn spelling(character: char) -> impl Strategy<Value = String> {
        let mut buffer = [0; 4];
        let bytes = character.encode_utf8(&mut buffer).as_bytes().to_vec();
        let upper = bytes.iter().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
        let lower = upper.to_lowercase();
        let raw = if character == ' ' { upper.clone() } else { character.to_string() };
        prop_oneof![Just(raw), Just(upper), Just(lower)]
    }

    /// A path in one of its spellings: its characters, what stands between its segments, and what
    /// some servers take away.
    fn spellings(path: &'static str) -> impl Strategy<Value = String> {
        let segments: Vec<_> = path
            .split('/')
            .skip(1)
            .map(|segment| {
                let between = prop_oneof![
                    4 => Just("/"),
                    1 => prop::sample::select(vec![
                        "//", "/./", "/%2e/", "/x/../", "/x/%2E%2e/", "/;/", "/..;/", "/x/..%3b/",
                        "/%2F", "/\\", "/%5c", "/%c0%af",
                    ]),
                ];
                let characters = segment.chars().map(spelling).collect::<Vec<_>>();
                let behind = prop_oneof![4 => Just(""), 1 => Just(";x=1"), 1 => Just("%3Bx")];
                (between, characters, behind).prop_map(|(between, characters, behind)| {
                    format!("{between}{}{behind}", characters.concat())
                })
            })
            .collect();
        let end = prop::sample::select(vec!["", "/", "/below", "?q", "/.", "/x/.."]);
        (segments, end).prop_map(|(segments, end)| segments.concat() + end)
    }

    const PROTECTED: [&str; 7] = [
        "/v1/users:delete",
        "/@admin",
        "/a b/c",
        "/\u{fc}ber/alles",
        "/!$&'()*+,=",
        "/pkg.Admin/Delete-All_~1",
        "/[x]/{y}",
    ];

    proptest! {
        #[test]
        fn no_spelling_of_a_protected_path_reaches_an_upstream(
            path in prop::sample::select(PROTECTED.to_vec()).prop_flat_map(spellings)
        ) {
            let mut routes = vec![route("/", None)];
            routes.extend(PROTECTED.map(|path| route(path, Some(&["root@x.test"]))));
            if let Ok(mut uri) = path.parse::<Uri>() {
                prop_assert!(judge(&routes, Some("user@x.test"), &mut uri).is_err(), "{path}: {uri}");
            }
        }

        #[test]
        fn whoever_may_call_a_path_may_spell_it_as_they_like(
            path in prop::sample::select(PROTECTED.to_vec()).prop_flat_map(|path| {
                path.chars()
                    .map(|one| if one == '/' { Just("/".to_owned()).boxed() } else { spelling(one).boxed() })
                    .collect::<Vec<_>>()
                    .prop_map(move |spelt| (path, spelt.concat()))
            })
        ) {
            let (plain, spelt) = path;
            let routes = [route(plain, Some(&["root@x.test"]))];
            if let Ok(mut uri) = spelt.parse::<Uri>() {
                prop_assert!(judge(&routes, Some("root@x.test"), &mut uri).is_ok(), "{spelt}");
                prop_assert_eq!(uri.path(), path::normalise(plain).unwrap(), "in one notation");
            }
        }
    }
}
