//! Which modules dance, and in which order: the closure of `requires`, sorted topologically, ties by name.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::Direction;
use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;

use crate::disco::report::Edge;
use crate::disco::universe::module::{Module, ModuleName, Relation};

/// The modules want each other first.
#[derive(Debug, thiserror::Error)]
#[error("the modules require each other in a circle: {}", describe(circle))]
pub struct CycleError {
    /// Each step of the circle; the last one leads back to the first.
    circle: Vec<Link>,
}

/// One line of a `requires` file, as a step from the module that comes first to the one that follows.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Link {
    first: ModuleName,
    declared_by: ModuleName,
    line: usize,
}

fn describe(circle: &[Link]) -> String {
    let steps = circle.iter().map(|edge| {
        format!("{} comes first by line {} of {}/requires", edge.first, edge.line, edge.declared_by)
    });
    steps.collect::<Vec<_>>().join(", ")
}

/// The names that modules require and that are not among them, with the module that wants each.
pub fn missing(modules: &[Module]) -> BTreeMap<ModuleName, ModuleName> {
    let known: BTreeSet<&ModuleName> = modules.iter().map(|module| &module.name).collect();
    modules
        .iter()
        .flat_map(|module| module.requires.iter().map(move |require| (&require.other, &module.name)))
        .filter(|(other, _)| !known.contains(other))
        .map(|(other, wanted_by)| (other.clone(), wanted_by.clone()))
        .collect()
}

/// The steps of the order that the modules want, each once, sorted.
pub fn edges(modules: &[Module]) -> Vec<Edge> {
    let wanted = modules.iter().flat_map(|module| {
        module.requires.iter().map(|require| {
            let (first, then) = match require.relation {
                Relation::After => (&require.other, &module.name),
                Relation::Before => (&module.name, &require.other),
            };
            Edge { first: first.to_string(), then: then.to_string() }
        })
    });
    wanted.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Sorts a closed set of modules so that every `requires` holds; among those that may come next, the first by name.
///
/// # Errors
/// Names the circle, with the lines that make it.
pub fn sort(mut modules: Vec<Module>) -> Result<Vec<Module>, CycleError> {
    modules.sort_by(|a, b| a.name.cmp(&b.name));
    let index: BTreeMap<&ModuleName, usize> =
        modules.iter().enumerate().map(|(at, module)| (&module.name, at)).collect();
    // Nodes are positions in the sorted list, so the smallest number is the first name.
    let mut graph: DiGraphMap<usize, usize> = DiGraphMap::new();
    for at in 0..modules.len() {
        graph.add_node(at);
    }
    let mut declared: BTreeMap<(usize, usize), (usize, usize)> = BTreeMap::new();
    for (at, module) in modules.iter().enumerate() {
        for require in &module.requires {
            let Some(&other) = index.get(&require.other) else { continue };
            let (first, then) = match require.relation {
                Relation::After => (other, at),
                Relation::Before => (at, other),
            };
            graph.add_edge(first, then, require.line);
            declared.entry((first, then)).or_insert((at, require.line));
        }
    }

    let mut waiting: Vec<usize> =
        (0..modules.len()).map(|at| graph.neighbors_directed(at, Direction::Incoming).count()).collect();
    let mut free: BTreeSet<usize> = (0..modules.len()).filter(|&at| waiting[at] == 0).collect();
    let mut order = Vec::with_capacity(modules.len());
    while let Some(next) = free.pop_first() {
        order.push(next);
        for then in graph.neighbors(next) {
            waiting[then] -= 1;
            if waiting[then] == 0 {
                free.insert(then);
            }
        }
    }
    if order.len() < modules.len() {
        let circle = find_circle(&graph)
            .windows(2)
            .map(|pair| {
                let (by, line) = declared[&(pair[0], pair[1])];
                Link { first: modules[pair[0]].name.clone(), declared_by: modules[by].name.clone(), line }
            })
            .collect();
        return Err(CycleError { circle });
    }
    let mut modules: Vec<Option<Module>> = modules.into_iter().map(Some).collect();
    Ok(order.into_iter().map(|at| modules[at].take().expect("every module is placed once")).collect())
}

/// A walk through one circle of the graph, ending where it began.
fn find_circle(graph: &DiGraphMap<usize, usize>) -> Vec<usize> {
    let component = tarjan_scc(graph)
        .into_iter()
        .find(|component| component.len() > 1 || graph.contains_edge(component[0], component[0]))
        .expect("a graph that cannot be sorted has a circle");
    let members: BTreeSet<usize> = component.into_iter().collect();
    let mut walk = vec![*members.first().expect("a component has a member")];
    loop {
        let here = *walk.last().expect("the walk has begun");
        let next = graph
            .neighbors(here)
            .find(|next| members.contains(next))
            .expect("every member of the component has a way on inside it");
        let again = walk.iter().position(|&seen| seen == next);
        walk.push(next);
        if let Some(start) = again {
            return walk.split_off(start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disco::universe::module::Require;
    use proptest::prelude::*;

    fn module(name: &str, requires: &[(Relation, &str)]) -> Module {
        let requires = requires.iter().enumerate().map(|(at, (relation, other))| Require {
            other: ModuleName::new(other).unwrap(),
            relation: *relation,
            line: at + 1,
        });
        Module { name: ModuleName::new(name).unwrap(), directory: "/x".into(), requires: requires.collect() }
    }

    fn names(modules: &[Module]) -> Vec<&str> {
        modules.iter().map(|module| module.name.as_str()).collect()
    }

    #[test]
    fn without_requires_the_order_is_by_name() {
        let order = sort(vec![module("b", &[]), module("a", &[]), module("c", &[])]).unwrap();
        assert_eq!(names(&order), ["a", "b", "c"]);
    }

    #[test]
    fn after_and_before_are_both_honoured() {
        let order = sort(vec![
            module("a", &[(Relation::After, "z")]),
            module("m", &[(Relation::Before, "a")]),
            module("z", &[]),
        ])
        .unwrap();
        assert_eq!(names(&order), ["m", "z", "a"]);
    }

    #[test]
    fn a_circle_is_spelt_out_with_the_lines_that_make_it() {
        let error = sort(vec![
            module("a", &[(Relation::After, "b")]),
            module("b", &[(Relation::After, "c")]),
            module("c", &[(Relation::After, "a")]),
            module("d", &[]),
        ])
        .unwrap_err()
        .to_string();
        assert_eq!(
            error,
            "the modules require each other in a circle: a comes first by line 1 of c/requires, \
             c comes first by line 1 of b/requires, b comes first by line 1 of a/requires"
        );
        let alone = sort(vec![module("a", &[(Relation::After, "a")])]).unwrap_err().to_string();
        assert!(alone.ends_with("a comes first by line 1 of a/requires"), "{alone}");
    }

    #[test]
    fn what_is_required_and_not_there_is_told_with_who_wants_it() {
        let modules = [module("a", &[(Relation::Before, "b"), (Relation::After, "a")])];
        let missing = missing(&modules);
        assert_eq!(missing.len(), 1);
        assert_eq!(missing[&ModuleName::new("b").unwrap()].as_str(), "a");
    }

    proptest! {
        #[test]
        fn any_graph_without_a_circle_is_sorted_so_that_every_edge_holds(
            edges in proptest::collection::vec((0usize..12, 0usize..12, any::<bool>()), 0..40)
        ) {
            // Edges from smaller to larger numbers only: such a graph has no circle.
            let name = |at: usize| format!("m{at:02}");
            let mut modules: Vec<Module> = (0..12).map(|at| module(&name(at), &[])).collect();
            let mut wanted = Vec::new();
            for (a, b, forwards) in edges {
                let (first, then) = (a.min(b), a.max(b));
                if first == then { continue }
                let (at, relation, other) =
                    if forwards { (first, Relation::Before, then) } else { (then, Relation::After, first) };
                let other = ModuleName::new(&name(other)).unwrap();
                modules[at].requires.push(Require { other, relation, line: 1 });
                wanted.push((name(first), name(then)));
            }
            let order = sort(modules).unwrap();
            let place = |wanted: &str| names(&order).iter().position(|name| *name == wanted).unwrap();
            for (first, then) in wanted {
                prop_assert!(place(&first) < place(&then));
            }
            prop_assert_eq!(order.len(), 12);
        }
    }
}
