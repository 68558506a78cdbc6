//! The report of `doctor` about the agents themselves: the pinned releases have every option that the program uses.

use crate::world::World;

real_agent_tests! { both: doctor_finds_the_agent_its_version_and_its_options }

fn doctor_finds_the_agent_its_version_and_its_options(world: &World) {
    let report = world.call("doctor", &["--json"]).run().success().json();
    let checks = report["checks"].as_array().expect("a list of checks");
    for what in ["command", "version", "options"] {
        let what = format!("{}.{what}", world.agent);
        let check = checks.iter().find(|check| check["check"] == what.as_str());
        assert_eq!(check.expect("the check is in the report")["status"], "ok", "{checks:#?}");
    }
    assert!(world.api.requests().is_empty(), "doctor calls no model");
}
