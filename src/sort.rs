//! Sorts lists with one instance of the standard library's sort. Each of its instances takes about 6 KB of the program.

use std::cmp::Ordering;

/// Sorts `items`. Equal ones keep their order.
pub(crate) fn sort_by<T>(items: &mut Vec<T>, compare: impl Fn(&T, &T) -> Ordering) {
    let mut order: Vec<usize> = (0..items.len()).collect();
    sort_positions(&mut order, &|&one, &other| compare(&items[one], &items[other]));
    let mut unsorted: Vec<Option<T>> = items.drain(..).map(Some).collect();
    items.extend(order.into_iter().filter_map(|position| unsorted[position].take()));
}

/// Sorts `items` in their natural order.
pub(crate) fn sort<T: Ord>(items: &mut Vec<T>) {
    sort_by(items, T::cmp);
}

#[inline(never)]
fn sort_positions(positions: &mut [usize], compare: &dyn Fn(&usize, &usize) -> Ordering) {
    positions.sort_by(compare);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_items_keep_their_order() {
        let mut items = vec![(2, 'a'), (1, 'b'), (2, 'c'), (1, 'd')];
        sort_by(&mut items, |one, other| one.0.cmp(&other.0));
        assert_eq!(items, [(1, 'b'), (1, 'd'), (2, 'a'), (2, 'c')]);
        let mut names = vec!["b", "", "a"];
        sort(&mut names);
        assert_eq!(names, ["", "a", "b"]);
        sort::<String>(&mut Vec::new());
    }
}
