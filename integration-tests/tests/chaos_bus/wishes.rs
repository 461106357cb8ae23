//! What users wish, drawn from a seed, and what it comes to.

use std::{collections::BTreeMap, time::Duration};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

/// A service of a script: its name, how many, and which variant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) replicas: u32,
    /// In its environment, so that another variant is another spec.
    pub(crate) variant: u32,
}

/// An application of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct App {
    pub(crate) name: String,
    pub(crate) services: Vec<Service>,
}

/// One wish.
#[derive(Debug, Clone)]
pub(crate) enum Wish {
    Apply(App),
    Scale {
        app: String,
        service: String,
        replicas: u32,
    },
    Delete(String),
}

/// Wishes in order, each after a pause.
#[derive(Debug)]
pub(crate) struct Script {
    /// Is there first and is not touched.
    pub(crate) rock: App,
    pub(crate) wishes: Vec<(Wish, Duration)>,
    /// What is left at the end, the rock aside.
    left: BTreeMap<String, App>,
}

/// Wishes of a script.
const WISHES: usize = 10;
/// Replicas of a service, at most.
const MOST: u32 = 3;
/// Pause before a wish, at most, in milliseconds. Some follow at once, some after the one before has come true.
const PAUSE: u64 = 1000;

impl Script {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let rock = App {
            name: "rock".to_owned(),
            services: vec![Service {
                name: "stays".to_owned(),
                replicas: 2,
                variant: 0,
            }],
        };
        let mut left: BTreeMap<String, App> = BTreeMap::new();
        let mut wishes = Vec::new();
        for number in 0..WISHES {
            let names: Vec<String> = left.keys().cloned().collect();
            let kind = random.random_range(0..10);
            let known = (!names.is_empty()).then(|| random.random_range(0..names.len()));
            let known = known.and_then(|index| names.get(index));
            let wish = match (kind, known) {
                // A name is used once: it is free only when all is gone, which takes longer on a bad bus.
                (0..3, _) | (_, None) => Wish::Apply(fresh(&mut random, number)),
                (3..5, Some(name)) => Wish::Delete(name.clone()),
                (5..7, Some(name)) => {
                    let mut app = left.get(name).cloned().unwrap_or_else(|| rock.clone());
                    for service in &mut app.services {
                        service.variant += random.random_range(0..=1);
                    }
                    Wish::Apply(app)
                }
                (_, Some(name)) => {
                    let service = left.get(name).and_then(|app| app.services.first());
                    Wish::Scale {
                        app: name.clone(),
                        service: service.map_or_else(String::new, |s| s.name.clone()),
                        replicas: random.random_range(0..=MOST),
                    }
                }
            };
            match &wish {
                Wish::Apply(app) => {
                    left.insert(app.name.clone(), app.clone());
                }
                Wish::Delete(name) => {
                    left.remove(name);
                }
                Wish::Scale {
                    app,
                    service,
                    replicas,
                } => {
                    let services = left.get_mut(app).map(|app| app.services.iter_mut());
                    for of in services.into_iter().flatten() {
                        if of.name == *service {
                            of.replicas = *replicas;
                        }
                    }
                }
            }
            let pause = Duration::from_millis(random.random_range(0..PAUSE));
            wishes.push((wish, pause));
        }
        Self { rock, wishes, left }
    }

    /// Every application that there is at the end.
    pub(crate) fn end(&self) -> Vec<App> {
        let mut all: Vec<App> = self.left.values().cloned().collect();
        all.push(self.rock.clone());
        all
    }
}

fn fresh(random: &mut StdRng, number: usize) -> App {
    let service = |index| Service {
        name: format!("s{index}"),
        replicas: random.random_range(1..=MOST),
        variant: 0,
    };
    let services = (0..1 + number % 2).map(service).collect();
    App {
        name: format!("app{number}"),
        services,
    }
}
