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
    /// Copy the skills into the directories in which hosts look; by default for the user, for every host that is there
    Install(SkillChange),
    /// Tell what stands in each place: missing, up-to-date, outdated, modified or foreign
    List(SkillList),
    /// Replace what an older release installed
    Update(SkillChange),
    /// Take installed skills away
    Uninstall(SkillChange),
    /// Print a skill's text, or that of one of its references
    Show {
        #[arg(value_enum, value_name = "NAME")]
        skill: Which,
        #[arg(value_enum, value_name = "REFERENCE")]
        reference: Option<Reference>,
    },
    /// Write a skill into a directory of your own
    Export {
        #[arg(value_enum, value_name = "NAME")]
        skill: Which,
        /// The directory that will hold NAME
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        dir: PathBuf,
        /// Replace what is there
        #[arg(long)]
        force: bool,
    },
    /// Let an installed original call this program: its script makes room for one that does
    Shim {
        /// The directory with its SKILL.md
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        dir: PathBuf,
        /// Put the script back
        #[arg(long)]
        undo: bool,
    },
}

/// The programs that read skills: one, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SkillHosts {
    One(Backend),
    /// All, installed or not
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
            Self::All => Some(PossibleValue::new("all").help("All, installed or not")),
        }
    }
}

/// Which skills, and where.
#[derive(Debug, Args)]
pub(crate) struct SkillPlaces {
    /// The program that is to find them; by default each that is there
    #[arg(long, value_enum, value_name = "HOST")]
    pub agent: Option<SkillHosts>,
    /// For all your projects, or for the one around the current directory
    #[arg(long, value_enum, value_name = "SCOPE")]
    pub scope: Option<Scope>,
    /// The same as --scope user
    #[arg(short, long, conflicts_with = "scope")]
    pub global: bool,
    /// A directory for skills of your own choice
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, conflicts_with_all = ["agent", "scope", "global"])]
    pub dir: Option<PathBuf>,
    /// Only this skill; repeatable
    #[arg(long, value_enum, value_name = "NAME")]
    pub skill: Vec<Which>,
    /// Print JSON
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
    /// Replace or remove edited and foreign directories too; they are kept beside the directory for skills
    #[arg(long)]
    pub force: bool,
    /// Tell what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}
