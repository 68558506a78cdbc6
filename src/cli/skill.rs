//! The command line of `skill`.

use std::path::PathBuf;
use std::sync::LazyLock;

use clap::builder::PossibleValue;
use clap::{Args, Subcommand, ValueEnum, ValueHint};

use crate::backend::Backend;
use crate::skills::host::Scope;
use crate::skills::{Reference, Skill as Which};

#[derive(Debug, Args)]
#[command(disable_help_subcommand = true)]
pub(crate) struct Skill {
    #[command(subcommand)]
    pub action: SkillAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SkillAction {
    /// Install the skills for every agent found, in user scope by default
    Install(SkillChange),
    /// List where the skills are installed, with their states
    List(SkillList),
    /// Replace skills that an older release installed
    Update(SkillChange),
    /// Remove installed skills
    Uninstall(SkillChange),
    /// Print a skill, or one of its references
    Show {
        /// Name of the skill
        #[arg(value_enum, value_name = "NAME")]
        skill: Which,
        /// Reference to print instead of SKILL.md
        #[arg(value_enum, value_name = "REFERENCE")]
        reference: Option<Reference>,
    },
    /// Write a skill to a directory
    Export {
        /// Name of the skill
        #[arg(value_enum, value_name = "NAME")]
        skill: Which,
        /// Directory in which to create NAME
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        dir: PathBuf,
        /// Replace an existing directory
        #[arg(long)]
        force: bool,
    },
    /// Replace an original skill's script with a shim that calls this program
    Shim {
        /// Directory of the original skill, with its SKILL.md
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        dir: PathBuf,
        /// Restore the original script
        #[arg(long)]
        undo: bool,
    },
}

/// The programs that read skills: one or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SkillHosts {
    One(Backend),
    /// All agents, installed or not
    All,
}

impl ValueEnum for SkillHosts {
    fn value_variants<'a>() -> &'a [Self] {
        static VARIANTS: LazyLock<Vec<SkillHosts>> =
            LazyLock::new(|| Backend::ALL.into_iter().map(SkillHosts::One).chain([SkillHosts::All]).collect());
        &VARIANTS
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            Self::One(backend) => Some(PossibleValue::new(backend.name()).help(backend.spec().skill.agent)),
            Self::All => Some(PossibleValue::new("all").help("All agents, installed or not")),
        }
    }
}

/// Options that select skills and their directories.
#[derive(Debug, Args)]
pub(crate) struct SkillPlaces {
    /// Select the agent that reads the skills
    #[arg(long, value_enum, value_name = "AGENT")]
    pub agent: Option<SkillHosts>,
    /// Select the skills of the user or of the current project
    #[arg(long, value_enum, value_name = "SCOPE")]
    pub scope: Option<Scope>,
    /// Same as --scope user
    #[arg(short, long, conflicts_with = "scope")]
    pub global: bool,
    /// Use DIR as the directory for skills
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, conflicts_with_all = ["agent", "scope", "global"])]
    pub dir: Option<PathBuf>,
    /// Select only this skill; repeatable
    #[arg(long, value_enum, value_name = "NAME")]
    pub skill: Vec<Which>,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SkillList {
    #[command(flatten)]
    pub places: SkillPlaces,
}

#[derive(Debug, Args)]
pub(crate) struct SkillChange {
    #[command(flatten)]
    pub places: SkillPlaces,
    /// Also replace or remove modified and foreign skills; a backup of each is kept
    #[arg(long)]
    pub force: bool,
    /// Print what would be done without doing it
    #[arg(long)]
    pub dry_run: bool,
}
