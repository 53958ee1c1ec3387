//! The lists and maps of messages: what fits is in, in its order, and what does not is refused.

use alts_core::msg::{Full, List, Map};

#[test]
fn a_list_keeps_what_fits_and_refuses_one_more() {
    let mut list = List::<u8, 3>::new();
    assert!(list.is_empty() && list == List::default());
    for item in [3, 1, 2] {
        assert_eq!(list.push(item), Ok(()));
    }
    assert_eq!(list.push(4), Err(Full));
    assert_eq!(*list, [3, 1, 2]);
    assert_eq!((&list).into_iter().sum::<u8>(), 6);
    assert_eq!(format!("{list:?}"), "[3, 1, 2]");

    list.sort_unstable();
    assert_eq!(list, [1, 2, 3].into());
    assert_ne!(list, [1, 2].into());
    assert_eq!(list.clone(), list);
}

#[test]
fn a_list_of_too_many_is_refused_whole() {
    assert_eq!(List::<u8, 3>::try_from_iter(0..3), Ok([0, 1, 2].into()));
    assert_eq!(List::<u8, 3>::try_from_iter(0..4), Err(Full));
    assert_eq!(List::<u8, 0>::try_from_iter([]), Ok([].into()));
}

#[test]
fn a_map_has_one_value_for_each_key() {
    let mut map = Map::<&str, u8, 2>::new();
    assert!(map.is_empty() && map == Map::default());
    assert_eq!(map.insert("a", 1), Ok(None));
    assert_eq!(map.insert("b", 2), Ok(None));
    assert_eq!(map.insert("c", 3), Err(Full));
    assert_eq!(map.insert("a", 4), Ok(Some(1)));
    assert_eq!((map.len(), map.get(&"a"), map.get(&"c")), (2, Some(&4), None));
    *map.get_mut(&"b").unwrap() += 1;
    assert_eq!(map.iter().collect::<Vec<_>>(), [(&"a", &4), (&"b", &3)]);
    assert_eq!(format!("{map:?}"), r#"{"a": 4, "b": 3}"#);
    assert_eq!(map.get_mut(&"c"), None);
}

#[test]
fn maps_are_equal_whatever_their_order() {
    let map = |entries: [(&'static str, u8); 2]| Map::<_, _, 4>::from(entries);
    assert_eq!(map([("a", 1), ("b", 2)]), map([("b", 2), ("a", 1)]));
    assert_ne!(map([("a", 1), ("b", 2)]), map([("a", 1), ("b", 3)]));
    assert_ne!(map([("a", 1), ("b", 2)]), map([("a", 1), ("c", 2)]));
    assert_ne!(map([("a", 1), ("b", 2)]), [("a", 1)].into());
    assert_eq!(map([("a", 1), ("a", 2)]), [("a", 2)].into());
    assert_eq!(map([("a", 1), ("b", 2)]).clone(), map([("a", 1), ("b", 2)]));
}

#[test]
fn a_map_of_too_many_is_refused_whole() {
    let numbered = |count: u8| Map::<u8, (), 3>::try_from_iter((0..count).map(|key| (key, ())));
    assert_eq!(numbered(3), Ok([(0, ()), (1, ()), (2, ())].into()));
    assert_eq!(numbered(4), Err(Full));
    // A key that comes again takes no room.
    assert!(Map::<_, _, 1>::try_from_iter([("a", 1), ("a", 2)]).is_ok());
    assert_eq!(Full.to_string(), "no room for another element");
}
