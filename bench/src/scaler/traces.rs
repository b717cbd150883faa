//! What traces cost: three scalers beside each other, scraping the same pods and answering as many calls, one without traces,
//! one that keeps a hundredth of them, one that keeps all. Whatever else the machine does meets all three.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keda_kaito_core::names;
use keda_kaito_e2e::programs::{Name, Program, Start};
use tokio::time::sleep;

use super::{HEARD_WITHIN, READY_WITHIN, Stage};
use crate::figures::{Figures, Goal};
use crate::rounds::quantile;
use crate::{calls, credentials, machine, sink};

const SINK: &str = "127.0.0.1:4317";
const SUBJECTS: [(&str, Option<&str>); 3] = [("off", None), ("at 1 %", Some("0.01")), ("of everything", Some("1"))];
/// Rounds of scrapes until forms are known and targets have proven themselves.
const SETTLED: Duration = Duration::from_secs(45);
/// A whole round of scrapes, so that every turn has the same number.
const TURN: Duration = Duration::from_secs(15);
const TURNS: usize = 7;
const CALLS_PER_SECOND: u32 = 800;
/// What a tenth more is.
const DEAREST: f64 = 1.1;

/// What one scaler did between two looks.
#[derive(Clone, Copy)]
struct Look {
    cpu: f64,
    scrapes: f64,
}

impl Stage {
    /// CPU per scrape without calls, then per call beyond what scraping takes; medians over turns.
    pub(super) async fn traces(&self) -> Result<Figures> {
        sink::serve(SINK.parse()?).await?;
        let mut programs = Vec::new();
        for (host, (_, ratio)) in (10..).zip(SUBJECTS) {
            let address = IpAddr::V4(Ipv4Addr::new(10, 244, 254, host));
            let mut start = Start::new(Name::Scaler, address);
            if let Some(ratio) = ratio {
                start = start.argument(format!("--otlp-endpoint=http://{SINK}"));
                let sampler = ("OTEL_TRACES_SAMPLER".to_owned(), "parentbased_traceidratio".to_owned());
                start.environment = vec![sampler, ("OTEL_TRACES_SAMPLER_ARG".to_owned(), ratio.to_owned())];
            }
            programs.push(Program::spawn(&self.bed.directory.join("logs"), start)?);
        }
        for program in &mut programs {
            program.ready(READY_WITHIN).await?;
        }
        self.all_heard(&programs).await?;
        sleep(SETTLED).await;

        let mut per_scrape: [Vec<f64>; 3] = Default::default();
        let mut rates: [Vec<f64>; 3] = Default::default();
        for _ in 0..TURNS {
            let (turn, ()) = over(&programs, async {
                sleep(TURN).await;
                Ok(())
            })
            .await?;
            for ((each, rate), Look { cpu, scrapes }) in per_scrape.iter_mut().zip(&mut rates).zip(turn) {
                each.push(cpu / scrapes);
                rate.push(cpu / TURN.as_secs_f64());
            }
        }
        let config = Arc::new(credentials::client(&self.bed).await?);
        let mut per_call: [Vec<f64>; 3] = Default::default();
        let mut failed = 0;
        for _ in 0..TURNS {
            let (turn, made) = over(&programs, async {
                let call = |program: &Program| {
                    let address = SocketAddr::new(program.start.address, names::GRPC_PORT);
                    calls::get_metrics(
                        Arc::clone(&config),
                        address,
                        &self.fleet.scaled_objects,
                        CALLS_PER_SECOND,
                        TURN,
                    )
                };
                let made = futures::future::try_join_all(programs.iter().map(call)).await?;
                failed += made.iter().map(calls::Latencies::failed).sum::<u32>();
                Ok(made.iter().map(|made| f64::from(made.count())).collect::<Vec<f64>>())
            })
            .await?;
            for (((each, rate), Look { cpu, .. }), calls) in per_call.iter_mut().zip(&rates).zip(turn).zip(made) {
                each.push((cpu - quantile(rate.clone(), 0.5) * TURN.as_secs_f64()) / calls);
            }
        }
        let mut figures = Figures::of(format!("traces of {}", self.describe()));
        for (what, measured) in [("scrape, all else included", per_scrape), ("call", per_call)] {
            let [off, few, all] = measured;
            for ((name, _), values) in SUBJECTS.iter().zip([&off, &few, &all]) {
                let title = format!("CPU per {what}, traces {name}");
                figures.add(title, 1e6 * quantile(values.clone(), 0.5), "µs", Goal::None);
            }
            let ratio = |dear: &[f64]| quantile(dear.iter().zip(&off).map(|(dear, off)| dear / off).collect(), 0.5);
            figures.add("1 % of the traces costs, times off", ratio(&few), "×", Goal::AtMost(DEAREST));
            figures.add("all of the traces cost, times off", ratio(&all), "×", Goal::None);
        }
        figures.add("calls that failed", f64::from(failed), "", Goal::AtMost(0.0));
        for (program, (name, _)) in programs.iter().zip(SUBJECTS) {
            let page = program.metrics().await?;
            let sent = total(&page, "keda_kaito_scaler_spans_total{outcome=\"sent\"}");
            let lost = total(&page, "keda_kaito_scaler_spans_total") - sent;
            figures.add(format!("spans sent, traces {name}"), sent, "", Goal::None);
            figures.add(format!("spans dropped, traces {name}"), lost, "", Goal::None);
        }
        figures.add("load of the machine over the last minute", machine::load()?, "", Goal::None);
        for program in programs {
            program.stop().await?;
        }
        Ok(figures)
    }

    /// Every pod has been scraped by every scaler.
    async fn all_heard(&self, programs: &[Program]) -> Result<()> {
        let pods = self.fleet.pods.len() as f64;
        keda_kaito_e2e::bed::eventually(HEARD_WITHIN, "every scaler has heard every pod", async || {
            let mut fewest = f64::INFINITY;
            for program in programs {
                fewest = total(&program.metrics().await?, "keda_kaito_scaler_fresh_targets").min(fewest);
            }
            Ok(keda_kaito_e2e::bed::Look::when(fewest >= pods, fewest))
        })
        .await?;
        Ok(())
    }
}

/// What each did while `work` was done, and what that gave.
async fn over<T>(programs: &[Program], work: impl Future<Output = Result<T>>) -> Result<(Vec<Look>, T)> {
    let before = look(programs).await?;
    let done = work.await?;
    let after = look(programs).await?;
    let between = before.iter().zip(&after).map(|(before, after)| Look {
        cpu: after.cpu - before.cpu,
        scrapes: after.scrapes - before.scrapes,
    });
    let between: Vec<Look> = between.collect();
    ensure!(between.iter().all(|look| look.scrapes > 0.0), "a scaler does not scrape");
    Ok((between, done))
}

async fn look(programs: &[Program]) -> Result<Vec<Look>> {
    let mut looks = Vec::new();
    for program in programs {
        let page = program.metrics().await?;
        looks.push(Look {
            cpu: program.usage().context("reading what a scaler used")?.cpu_seconds(),
            scrapes: total(&page, "keda_kaito_scaler_scrapes_total"),
        });
    }
    Ok(looks)
}

/// Sum of the series that begin with this.
fn total(page: &str, begins: &str) -> f64 {
    let series = page.lines().filter(|line| line.starts_with(begins));
    series.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}
