//! Scaling arithmetic (`gybe::domain::scale`).

use std::collections::BTreeMap;

use gybe::domain::scale::{
    ScaleDirection, ScaleLevels, ScaleTarget, agrees, check_workloads, initial_levels, instances, level_of,
    numbers_after, profile_warnings, scaled, scaled_to,
};
use gybe::domain::vnfd::{Flavour, InstantiationLevel, ScalingAspect, Vdu};
use proptest::prelude::*;

fn map<T>(entries: impl IntoIterator<Item = (&'static str, T)>) -> BTreeMap<String, T> {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// VDU `a` starts at 1 and grows by 2 a step; `b` starts at 2, grows by 1, 3 and 5; `c` is not scaled.
fn flavour() -> Flavour {
    let vdu = |name: &str, max, initial| Vdu { name: name.to_owned(), kind: None, min: 1, max, initial };
    Flavour {
        description: String::new(),
        vdus: map([("a", vdu("a", 100, Some(1))), ("b", vdu("b", 100, Some(2))), ("c", vdu("c", 1, None))]),
        aspects: map([
            ("uniform", ScalingAspect { max_level: 3, deltas: map([("a", vec![2])]) }),
            ("steps", ScalingAspect { max_level: 3, deltas: map([("b", vec![1, 3, 5])]) }),
        ]),
        levels: map([
            ("small", InstantiationLevel { scale_levels: map([("uniform", 0)]), vdu_instances: map([]) }),
            (
                "big",
                InstantiationLevel {
                    scale_levels: map([("uniform", 2), ("steps", 1)]),
                    vdu_instances: map([("c", 7), ("a", 5)]),
                },
            ),
        ]),
        default_level: Some("small".to_owned()),
    }
}

fn levels(uniform: u32, steps: u32) -> ScaleLevels {
    map([("uniform", uniform), ("steps", steps)])
}

#[test]
fn uses_the_default_level_if_the_request_names_none() {
    assert_eq!(initial_levels(&flavour(), None).unwrap(), levels(0, 0));
    assert_eq!(initial_levels(&flavour(), Some("big")).unwrap(), levels(2, 1));
}

#[test]
fn rejects_an_unknown_level_and_lists_the_known_ones() {
    let problem = initial_levels(&flavour(), Some("huge")).unwrap_err();
    assert_eq!(problem.status, 422);
    assert!(problem.detail.contains("'huge'") && problem.detail.contains("big, small"), "{}", problem.detail);
}

#[test]
fn instance_count_is_the_sum_of_the_deltas() {
    assert_eq!(instances(&flavour(), &levels(0, 0), None), map([("a", 1), ("b", 2)]));
    assert_eq!(instances(&flavour(), &levels(3, 2), None), map([("a", 7), ("b", 6)]));
    assert_eq!(instances(&flavour(), &levels(1, 3), None), map([("a", 3), ("b", 11)]));
}

#[test]
fn counts_of_an_instantiation_level_apply_at_its_scale_levels() {
    assert_eq!(instances(&flavour(), &levels(2, 1), Some("big")), map([("a", 5), ("b", 3), ("c", 7)]));
    assert_eq!(instances(&flavour(), &levels(3, 1), Some("big")), map([("a", 7), ("b", 3)]));
}

#[test]
fn an_aspect_missing_from_a_level_is_at_zero() {
    let mut flavour = flavour();
    flavour.levels.get_mut("small").unwrap().vdu_instances = map([("b", 9)]);
    assert_eq!(instances(&flavour, &levels(0, 0), None)["b"], 9);
    assert_eq!(instances(&flavour, &levels(0, 1), None)["b"], 3, "no longer that level");
}

#[test]
fn scaling_stays_within_the_levels_of_the_aspect() {
    let out = |steps| scaled(&flavour(), &levels(1, 0), ScaleDirection::Out, "uniform", steps);
    assert_eq!(out(2).unwrap(), levels(3, 0));
    for steps in [3, u32::MAX] {
        let problem = out(steps).unwrap_err();
        assert_eq!(problem.status, 422);
        assert!(problem.detail.contains("level 1 and allows 0 to 3"), "{}", problem.detail);
    }
    assert!(scaled(&flavour(), &levels(1, 0), ScaleDirection::In, "uniform", 2).is_err());
}

#[test]
fn a_number_outside_of_the_vdu_profile_is_a_warning() {
    let mut flavour = flavour();
    flavour.vdus.get_mut("a").unwrap().max = 4;
    assert_eq!(scaled(&flavour, &levels(1, 0), ScaleDirection::Out, "uniform", 1).unwrap(), levels(2, 0));
    let warnings = profile_warnings(&flavour, &map([("a", 5), ("b", 1), ("unknown", 9)]));
    assert_eq!(warnings, ["VDU 'a' has 5 instances as the VNFD states; its vdu_profile allows 1 to 4"]);
}

/// A flavour whose instantiation level "big" states other numbers than its deltas: 5 instead of 1 + 2 × 1.
fn contradictory() -> Flavour {
    let mut flavour = flavour();
    let big = flavour.levels.get_mut("big").unwrap();
    (big.scale_levels, big.vdu_instances) = (map([("uniform", 1)]), map([("a", 5)]));
    flavour
}

#[test]
fn a_step_changes_the_present_number_by_its_delta() {
    let flavour = contradictory();
    let vdus = ["a".to_owned(), "b".to_owned()];
    let numbers = |before, after, level, present| {
        numbers_after(&flavour, (&levels(before, 0), &levels(after, 0)), level, &vdus, &map([("a", present)]))
    };
    assert_eq!(instances(&flavour, &levels(1, 0), Some("big"))["a"], 5);
    assert_eq!(numbers(1, 2, None, 5)["a"], 7, "not 1 + 2 × 2");
    assert_eq!(numbers(2, 1, None, 7)["a"], 5);
    assert_eq!(numbers(3, 0, None, 9)["a"], 3);
    assert_eq!(numbers(0, 1, Some("big"), 77)["a"], 5, "the request names the level");
    assert_eq!(numbers(0, 1, None, 77)["b"], 2, "about b the VNFD agrees with itself");
    assert!(!agrees(&flavour, "a") && agrees(&flavour, "b") && agrees(&flavour, "c"));
    assert_eq!(
        level_of(&flavour, &levels(1, 0), "uniform", &map([("a", 5)])),
        None,
        "only operations change the level"
    );
    // Without an initial number, too.
    let vdus = ["c".to_owned()];
    let mut bare = self::flavour();
    bare.aspects.insert("c".to_owned(), ScalingAspect { max_level: 3, deltas: map([("c", vec![2])]) });
    let levels = |level| map([("c", level)]);
    let numbers =
        |before, after, present| numbers_after(&bare, (&levels(before), &levels(after)), None, &vdus, &present);
    assert_eq!(numbers(0, 2, map([("c", 1)])), map([("c", 5)]));
    assert_eq!(numbers(2, 0, map([("c", 3)])), map([]), "3 - 4 is no number");
    assert_eq!(numbers(0, 2, map([])), map([]));
}

#[test]
fn what_cannot_be_scaled_is_refused_with_the_reason() {
    let check = |flavour: &Flavour, after, workload: &str| {
        check_workloads(flavour, &levels(0, 0), &after, |vdu| vdu == workload).map_err(|problem| problem.detail)
    };
    let mut flavour = flavour();
    assert_eq!(check(&flavour, levels(1, 0), "a"), Ok(()));
    let missing = check(&flavour, levels(0, 1), "a").unwrap_err();
    assert!(missing.starts_with("aspect 'steps' scales VDU 'b', but the VNF has no Deployment"), "{missing}");
    flavour.aspects.get_mut("uniform").unwrap().deltas.clear();
    let undefined = check(&flavour, levels(1, 0), "a").unwrap_err();
    assert!(
        undefined.starts_with("aspect 'uniform' can't be scaled: the VNFD defines none of its deltas"),
        "{undefined}"
    );
    assert_eq!(check(&flavour, levels(0, 0), "none"), Ok(()), "no level changes");
}

#[test]
fn the_instance_count_has_an_upper_limit_whatever_the_vnfd_allows() {
    let mut flavour = flavour();
    flavour.vdus.get_mut("a").unwrap().max = u32::MAX;
    flavour.aspects.get_mut("uniform").unwrap().max_level = u32::MAX;
    let problem = scaled(&flavour, &levels(1, 0), ScaleDirection::Out, "uniform", 2_000_000_000).unwrap_err();
    assert!(problem.status == 422 && problem.detail.contains("the limit is 10000"), "{}", problem.detail);
}

#[test]
fn rejects_an_unknown_aspect_and_lists_the_known_ones() {
    let problem = scaled(&flavour(), &levels(0, 0), ScaleDirection::Out, "sideways", 1).unwrap_err();
    assert!(problem.detail.contains("'sideways'") && problem.detail.contains("steps, uniform"), "{}", problem.detail);
}

#[test]
fn replicas_determine_the_level_only_if_they_match_exactly() {
    let mut flat = flavour();
    flat.aspects.insert("flat".to_owned(), ScalingAspect { max_level: u32::MAX, deltas: map([("c", vec![0])]) });
    flat.vdus.get_mut("c").unwrap().initial = Some(4);
    let mut shared = flavour();
    shared.aspects.insert("also".to_owned(), ScalingAspect { max_level: 5, deltas: map([("a", vec![1])]) });
    let mut both = flavour();
    both.aspects.get_mut("uniform").unwrap().deltas.insert("b".to_owned(), vec![1]);
    both.aspects.remove("steps");
    let mut endless = flavour();
    endless.aspects.get_mut("uniform").unwrap().max_level = u32::MAX;
    for (flavour, aspect, replicas, level) in [
        (flavour(), "uniform", vec![("a", 1)], Some(0)),
        (flavour(), "uniform", vec![("a", 3), ("b", 77)], Some(1)),
        (flavour(), "uniform", vec![("a", 7)], Some(3)),
        (flavour(), "uniform", vec![("a", 9)], None),
        (flavour(), "uniform", vec![("a", 2)], None),
        (flavour(), "uniform", vec![("a", 0)], None),
        (flavour(), "uniform", vec![], None),
        (flavour(), "steps", vec![("b", 6)], Some(2)),
        (flavour(), "steps", vec![("b", 11)], Some(3)),
        (flavour(), "steps", vec![("b", 5)], None),
        (flavour(), "sideways", vec![("a", 1)], None),
        // All VDUs of the aspect must agree.
        (both.clone(), "uniform", vec![("a", 5), ("b", 4)], Some(2)),
        (both.clone(), "uniform", vec![("a", 5), ("b", 3)], None),
        (both, "uniform", vec![("a", 5)], None),
        // Two aspects scale the VDU: a changed count does not determine the level, the initial count does.
        (shared.clone(), "uniform", vec![("a", 3)], None),
        (shared, "uniform", vec![("a", 1)], Some(0)),
        // All levels are equal: the current one stays.
        (flat.clone(), "flat", vec![("c", 4)], Some(0)),
        (flat, "flat", vec![("c", 5)], None),
        (endless.clone(), "uniform", vec![("a", 2_000_000_001)], Some(1_000_000_000)),
        (endless, "uniform", vec![("a", u32::MAX - 1)], None),
    ] {
        let replicas = map(replicas);
        assert_eq!(level_of(&flavour, &levels(0, 0), aspect, &replicas), level, "{aspect} {replicas:?}");
    }
}

proptest! {
    #[test]
    fn the_level_is_derived_from_its_own_replicas(uniform in 0u32..=3, steps in 0u32..=3, from in 0u32..=3) {
        let replicas = instances(&flavour(), &levels(uniform, steps), None);
        prop_assert_eq!(level_of(&flavour(), &levels(from, steps), "uniform", &replicas), Some(uniform));
        prop_assert_eq!(level_of(&flavour(), &levels(uniform, from), "steps", &replicas), Some(steps));
    }

    #[test]
    fn scaling_out_and_in_restores_the_level(uniform in 0u32..=3, steps in 1u32..=3) {
        let before = levels(uniform, 2);
        if let Ok(out) = scaled(&flavour(), &before, ScaleDirection::Out, "uniform", steps) {
            prop_assert_eq!(scaled(&flavour(), &out, ScaleDirection::In, "uniform", steps).unwrap(), before);
        }
    }
}

#[test]
fn scale_to_level_changes_only_the_named_aspects() {
    let to = |target: ScaleLevels| scaled_to(&flavour(), &levels(1, 2), &ScaleTarget::Aspects(target));
    assert_eq!(to(map([("uniform", 3)])).unwrap(), levels(3, 2));
    assert_eq!(to(map([("uniform", 0), ("steps", 3)])).unwrap(), levels(0, 3));
    assert_eq!(to(levels(1, 2)).unwrap(), levels(1, 2), "where it is already");
    for (target, says) in [(map([("none", 1)]), "uniform"), (map([("uniform", 4)]), "allowed: 0 to 3")] {
        let problem = to(target).unwrap_err();
        assert_eq!(problem.status, 422);
        assert!(problem.detail.contains(says), "{}", problem.detail);
    }
}

#[test]
fn an_instantiation_level_sets_all_aspects_and_the_vdus_it_names() {
    let to = |level: &str, flavour: &Flavour| scaled_to(flavour, &levels(1, 2), &ScaleTarget::Level(level.to_owned()));
    assert_eq!(to("small", &flavour()).unwrap(), levels(0, 0), "an aspect without a level is at 0");
    assert_eq!(to("big", &flavour()).unwrap(), levels(2, 1), "its number of c is beyond the profile: a warning");
    assert_eq!(to("huge", &flavour()).unwrap_err().status, 422);
}

#[test]
fn scaling_aspects_changes_only_their_vdus() {
    let flavour = flavour();
    let vdus = |target: &ScaleTarget| target.vdus(&flavour).into_iter().cloned().collect::<Vec<_>>();
    assert_eq!(vdus(&ScaleTarget::Aspects(map([("steps", 1)]))), ["b"]);
    assert_eq!(vdus(&ScaleTarget::Level("big".to_owned())), ["a", "b", "c"]);
}
