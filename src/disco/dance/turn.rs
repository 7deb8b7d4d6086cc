//! One turn of a dance: a fresh sandbox, modules in it one after the other, and what becomes of their changes.
//!
//! A run is one turn, unless each module is merged by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::disco::Mode;
use crate::disco::changes::noise::Noise;
use crate::disco::changes::{Change, Scanner, Show};
use crate::disco::dance::spin::{Spun, Stage, Trouble};
use crate::disco::dance::{DanceError, Event, MergeEach, Request, Watch, with_causes};
use crate::disco::deferred::Deferred;
use crate::disco::ending;
use crate::disco::merge;
use crate::disco::plan;
use crate::disco::report::{ModuleRun, Outcome, Run, Step, Usage};
use crate::disco::sandbox::{Furniture, Sandbox, Scratch, shadow};
use crate::disco::universe::module::{Module, ModuleName, Relation, Require};
use crate::disco::universe::params;

/// What all turns of a run have in common.
pub(crate) struct Company<'a> {
    pub(crate) request: &'a Request,
    /// When the run began.
    pub(crate) started: Instant,
    /// All modules of the run, in order.
    pub(crate) all: &'a [Module],
    /// How each of them was fetched.
    pub(crate) fetched: &'a BTreeMap<ModuleName, Step>,
    pub(crate) furniture: Furniture,
    pub(crate) noise: Noise,
}

impl Company<'_> {
    /// Runs some modules in a sandbox of their own, then merges what they changed. Before this turn there were `part`
    /// others.
    ///
    /// # Errors
    /// Nothing of this turn is on the host. Where modules are merged one by one, a module whose changes cannot be merged
    /// has failed, and that is no error of the run.
    pub(crate) fn turn(
        &self,
        part: u32,
        modules: &[Module],
        run: &mut Run,
        watch: Watch<'_>,
    ) -> Result<(), DanceError> {
        let request = self.request;
        watch(Event::Busy { with: "putting the sandbox together" });
        let scratch = Scratch::make(&request.vardir)?;
        let effective = scratch.path().join("parameters");
        params::write_effective(&request.vardir, &request.node, self.all, &effective)?;
        let (host, began) = (scratch.host()?, scratch.file_system_now()?);
        let mut sandbox = Sandbox::open(request.mode, scratch, &effective, self.furniture.clone())?;
        sandbox.limit(request.settings.limits.clone());
        if part == 0 {
            sandbox.notes().iter().for_each(|text| watch(Event::Note { text }));
            run.notes.extend(sandbox.notes().iter().cloned());
        }

        let (ran, known, mut queue) = (run.modules.len(), run.changes.len(), Vec::new());
        let changes = self.spin(modules, &mut sandbox, run, &mut queue, watch)?;
        run.changes.extend(changes);
        run.deferred.append(&mut queue);
        run.seconds = self.started.elapsed().as_secs_f64();
        let failed = run.modules[ran..].iter().any(|module| module.outcome != Outcome::Done);
        let from = sandbox.root_path();
        let source =
            merge::Source { report: run, part, vardir: &request.vardir, from: &from, began, host: &host };
        let objection = match request.mode {
            Mode::Noop if !failed => merge::objection(&run.changes[known..], &source),
            Mode::Noop | Mode::Live => None,
        };
        let merged = match request.mode {
            Mode::Live if !failed => {
                watch(Event::Busy { with: "merging" });
                let merging = Instant::now();
                let merged = merge::merge(&run.changes[known..], &source);
                let usage = Usage::timed(merging.elapsed());
                run.internal.push(Step::new("merge", None, self.started, merging, usage));
                Some(merged)
            }
            Mode::Live | Mode::Noop => None,
        };
        let is_merged = matches!(merged, Some(Ok(())));
        run.merged |= is_merged;
        // What a module that is merged by itself changed is of no interest where it was dropped.
        if !is_merged && request.merge == MergeEach::Module && request.mode == Mode::Live {
            run.changes.truncate(known);
        }
        run.seconds = self.started.elapsed().as_secs_f64();
        let saved = match &request.plan {
            // Of a run that failed, and of what cannot be merged, a live run would merge nothing.
            Some(plan) if !failed && objection.is_none() => plan::save(&plan.out, plan.maker, run, &from),
            _ => Ok(()),
        };
        drop(sandbox);

        match is_merged {
            true => ending::execute(&request.vardir, run, part, self.started, &host, watch)?,
            false => ending::drop_commands(run, "nothing was merged", watch),
        }
        match (merged, request.merge, run.modules.last_mut()) {
            (Some(Err(error)), MergeEach::Module, Some(module)) => {
                let why = format!("nothing of it was merged: {}", with_causes(&error));
                watch(Event::Failed { module: &module.name, why: &why });
                module.outcome = Outcome::Failed(why);
            }
            (Some(Err(error)), _, _) => return Err(DanceError::Merge(error)),
            _ => {}
        }
        match objection {
            Some(objection) => Err(DanceError::Unmergeable(objection)),
            None => Ok(saved?),
        }
    }

    /// Runs the modules one after the other; returns what differs after the last one. Commands that are put off join the
    /// queue.
    fn spin(
        &self,
        modules: &[Module],
        sandbox: &mut Sandbox,
        run: &mut Run,
        queue: &mut Vec<Deferred>,
        watch: Watch<'_>,
    ) -> Result<Vec<Change>, DanceError> {
        let request = self.request;
        let show = Show { format: request.settings.diff.value, secrets: request.secrets };
        let mut scanner = Scanner::showing(show);
        let mut found = Vec::new();
        for module in modules {
            let number = run.modules.len() + 1;
            watch(Event::Busy { with: &format!("module {number} of {}: {}", self.all.len(), module.name) });
            let fetch = self.fetched[&module.name].clone();
            let mut done =
                ModuleRun { name: module.name.to_string(), outcome: Outcome::Done, steps: vec![fetch] };
            if let Some(because) = broken_need(module, self.all, &run.modules) {
                watch(Event::Skipped { module: &done.name, because: &because });
                done.outcome = Outcome::Skipped(because);
                run.modules.push(done);
                continue;
            }
            watch(Event::Processing { module: &done.name });
            let mut spun = Spun::default();
            let mut stage = Stage {
                mode: request.mode,
                restricted: request.restricted,
                began: self.started,
                node: &request.node,
                sandbox,
            };
            match stage.spin(module, &mut spun, watch) {
                Ok(()) => {}
                Err(Trouble::Module(error)) => {
                    let why = with_causes(&error);
                    watch(Event::Failed { module: &done.name, why: &why });
                    done.outcome = Outcome::Failed(why);
                }
                Err(Trouble::Sandbox(error)) => return Err(error.into()),
            }
            done.steps.append(&mut spun.steps);
            run.held_back.append(&mut spun.held_back);
            for (step, call) in spun.deferred {
                Deferred::add(queue, &done.name, step, call);
            }
            let scan = Instant::now();
            let mut changes = match shadow::without_shadows(scanner.scan(sandbox)?, sandbox.shadows()) {
                Ok(changes) => changes,
                Err((misplaced, changes)) => {
                    let why = format!(
                        "a command that is watched during a run was moved to {}; that has to be done outside a run",
                        misplaced.display()
                    );
                    watch(Event::Failed { module: &done.name, why: &why });
                    done.outcome = Outcome::Failed(why);
                    changes
                }
            };
            self.noise.mark(&mut changes);
            tell_new(&found, &mut changes, &done.name, watch);
            found = changes;
            done.steps.push(Step::new("diff", None, self.started, scan, Usage::timed(scan.elapsed())));
            run.modules.push(done);
        }
        Ok(found)
    }
}

/// The name of a module that comes before this one by `requires` and did not get to its end.
fn broken_need(module: &Module, all: &[Module], ran: &[ModuleRun]) -> Option<String> {
    let after = module.requires.iter().filter(|require| require.relation == Relation::After);
    let mut needs: BTreeSet<&ModuleName> = after.map(|require| &require.other).collect();
    needs.extend(all.iter().filter_map(|other| {
        let before = |require: &Require| require.relation == Relation::Before && require.other == module.name;
        other.requires.iter().any(before).then_some(&other.name)
    }));
    ran.iter()
        .find(|run| run.outcome != Outcome::Done && needs.iter().any(|need| need.as_str() == run.name))
        .map(|run| run.name.clone())
}

/// Tells of the changes that are new, or look otherwise than after the module before: this one left them so.
fn tell_new(before: &[Change], now: &mut [Change], module: &str, watch: Watch<'_>) {
    let known: BTreeMap<_, _> = before.iter().map(|change| (&change.path, change)).collect();
    for change in now {
        match known.get(&change.path) {
            Some(known) if known.after == change.after => change.module.clone_from(&known.module),
            _ => {
                change.module = Some(module.to_owned());
                if !change.implied {
                    watch(Event::Changed { change });
                }
            }
        }
    }
}
