//! What older releases of codex lack.
//!
//! The first releases were found by calling the published ones. Change logs do not have them all. Releases between those
//! that were called may have an option already.

use crate::backend::support::{Feature, FeatureEvidence, Release};

pub(super) const FEATURES: &[Feature] = &[
    Feature {
        option: "-o",
        what: "invoke-persist",
        plural: false,
        since: Release(0, 45, 0),
        evidence: FeatureEvidence::Unreported,
    },
    Feature {
        option: "--enable",
        what: "--enable",
        plural: false,
        since: Release(0, 47, 0),
        evidence: FeatureEvidence::Listed,
    },
    Feature {
        option: "--disable",
        what: "--disable",
        plural: false,
        since: Release(0, 47, 0),
        evidence: FeatureEvidence::Listed,
    },
    Feature {
        option: "--image",
        what: "--image",
        plural: false,
        since: Release(0, 47, 0),
        evidence: FeatureEvidence::Listed,
    },
    FORK,
];

pub(super) const FORK: Feature = Feature {
    option: "fork",
    what: "fork-session",
    plural: false,
    since: Release(0, 148, 0),
    evidence: FeatureEvidence::Page,
};

/// Returns the release in what `codex --version` prints: `codex-cli 0.169.0`.
pub(super) fn release(version: &str) -> Option<Release> {
    Release::parse(version.strip_prefix("codex-cli ")?)
}
