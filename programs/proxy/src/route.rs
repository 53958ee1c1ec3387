//! Who may call which paths: the longest prefix that a path has decides.

use crate::config::Route;

/// Whether an account may call a path, as it was normalised. Without routes, nobody may.
#[must_use]
pub fn is_allowed(routes: &[Route], account: Option<&str>, path: &str) -> bool {
    let covering = routes.iter().filter(|route| route.prefix.covers(path));
    covering
        .max_by_key(|route| route.prefix.length())
        .is_some_and(|route| route.allow.contains(account.unwrap_or_default()))
}

/// Whether there are paths that an account might call by the old routes, and may not by the new ones. An
/// empty list admits every path.
#[must_use]
pub fn is_narrower(old: &[Route], new: &[Route], account: Option<&str>) -> bool {
    let may = |routes: &[Route], path: &str| routes.is_empty() || is_allowed(routes, account, path);
    // Paths between which neither list makes a difference have one of these in common.
    let paths = old.iter().chain(new).map(|route| route.prefix.as_path()).chain(["/"]);
    paths.into_iter().any(|path| may(old, path) && !may(new, path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Peers;

    fn route(prefix: &str, accounts: &[&str]) -> Route {
        let allow = Peers::matching(accounts.iter().map(ToString::to_string)).unwrap();
        Route { prefix: prefix.to_owned().try_into().unwrap(), allow }
    }

    #[test]
    fn what_an_account_may_no_longer_call_is_found() {
        let narrower = |old: &[Route], new: &[Route]| is_narrower(old, new, Some("a@x.test"));
        let all = [route("/", &["a@x.test", "b@x.test"])];
        let others = [route("/", &["b@x.test"])];
        let without = [route("/", &["a@x.test"]), route("/admin", &["b@x.test"])];
        let more = [route("/", &["a@x.test"]), route("/admin", &["a@x.test"])];
        let only = [route("/admin", &["a@x.test"])];
        assert!(!narrower(&all, &all) && !narrower(&[], &[]) && !narrower(&all, &[]));
        assert!(narrower(&all, &others) && narrower(&[], &others) && narrower(&[], &only));
        assert!(narrower(&all, &without) && narrower(&more, &without) && narrower(&more, &only));
        assert!(!narrower(&without, &all) && !narrower(&only, &all) && !narrower(&more, &all));
        assert!(!is_narrower(&others, &without, Some("c@x.test")), "it could call nothing");
    }
}
