//! Who may call what: the longest prefix that a path has decides.

use http::{Uri, uri::PathAndQuery};

use super::answer::Refusal;
use crate::{config::Route, path};

/// Judges a request's path, and makes it the one that was judged: what the upstream sees is what
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

fn is_allowed(routes: &[Route], account: Option<&str>, path: &str) -> bool {
    let covering = routes.iter().filter(|route| route.prefix.covers(path));
    covering
        .max_by_key(|route| route.prefix.length())
        .is_some_and(|route| route.allow.contains(account.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Peers;

    fn route(prefix: &str, accounts: Option<&[&str]>) -> Route {
        let allow = accounts.map_or(Peers::Any, |accounts| {
            Peers::Only(accounts.iter().map(ToString::to_string).collect())
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
}
