//! `set-session`: changes what an entry of the mapping keeps for later calls.

use crate::cli::{self, KeptSetting};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::session::SessionName;
use crate::sessions::lookup::find_session;
use crate::sessions::selector::{SessionSelector, required_name};
use crate::sessions::settings::{self, Given};
use crate::sessions::suggest::not_found;
use crate::store::Store;
use crate::store::format::{Entry, Mapping};
use crate::store::settings::StoredSettings;
use crate::turn::options::TurnOptions;

pub(super) fn run(context: &Context, options: &cli::SetSession) -> Result<()> {
    let name = required_name(&options.name)?;
    let subject = SessionSelector { name: Some(name.clone()), id: None };
    let backend = context.backend(&options.place, &subject)?;
    let (store, workspace) = context.store(backend, &options.place)?;
    find_session(&store, &subject)?;
    if let Some(option) = settings::for_one_turn(backend, &options.settings) {
        return Err(Error::usage(format!("{option} cannot be stored, because it is for one turn"))
            .with_hint(format!("remove {option}, and pass it with the prompt")));
    }
    // every check of a call, so that a mistake is not stored
    let call = TurnOptions::without_limits(&store, &workspace, &options.settings, None, None)?;
    call.agent.launcher.arguments(options.settings.extra.clone())?;
    let given = settings::given(backend, &options.settings)?;
    let change = Change { unset: &options.unset, given, model: call.model, effort: call.effort };
    if change.is_empty() {
        return Err(Error::usage("nothing is to be changed")
            .with_hint("add an option such as --model MODEL or --unset all; to print what is stored, use resolve"));
    }
    settings::warn_unprotected(&context.ui, backend, &change.given.settings);
    let updated = store.update(false, |mapping, _| {
        let changed = change.apply(&store, mapping, &name);
        let is_changed = changed.is_ok();
        (changed, is_changed)
    })?;
    updated.value?;
    context.ui.print_json(&find_session(&store, &subject)?.describe_all(&store))
}

/// What to change.
struct Change<'a> {
    unset: &'a [KeptSetting],
    given: Given,
    model: Option<String>,
    effort: Option<String>,
}

impl Change<'_> {
    fn is_empty(&self) -> bool {
        self.unset.is_empty() && self.given.is_empty()
    }

    fn unsets(&self, what: KeptSetting) -> bool {
        self.unset.contains(&what) || self.unset.contains(&KeptSetting::All)
    }

    fn apply(&self, store: &Store, mapping: &mut Mapping, name: &SessionName) -> Result<()> {
        let Some(entry) = mapping.get(name) else {
            return Err(not_found(store, name, mapping.why_unusable(name)));
        };
        let settings = self.changed_settings(store, mapping, &entry)?.to_json();
        let model = self.model.clone().or(entry.model.clone().filter(|_| !self.unsets(KeptSetting::Model)));
        let effort = self.effort.clone().or(entry.effort.clone().filter(|_| !self.unsets(KeptSetting::Effort)));
        mapping.amend(name.as_str(), &Entry { model, effort, settings, ..entry });
        Ok(())
    }

    fn changed_settings(&self, store: &Store, mapping: &Mapping, entry: &Entry) -> Result<StoredSettings> {
        let stored = if self.unsets(KeptSetting::All) {
            StoredSettings::default()
        } else {
            store.settings(mapping, entry)?.unwrap_or_default()
        };
        let remaining = StoredSettings {
            arguments: if self.unsets(KeptSetting::Arguments) { Vec::new() } else { stored.arguments },
            config: if self.unsets(KeptSetting::Config) { Vec::new() } else { stored.config },
            command: if self.unsets(KeptSetting::Command) { Vec::new() } else { stored.command },
            env_file: stored.env_file.filter(|_| !self.unsets(KeptSetting::EnvFile)),
        };
        if !self.given.settings.is_empty() {
            store.check_writers(mapping)?;
        }
        Ok(self.given.added_to(store.backend, &remaining))
    }
}
