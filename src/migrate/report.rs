//! The report: what people, or programs, see of a run.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use clap::ValueEnum;
use indicatif::{DecimalBytes, HumanCount, MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;

use super::copier::Copier;
use super::tally::{Notice, Tally};

/// What the output is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people: bars on a terminal, else a line for each image.
    Text,
    /// For programs: a JSON object on each line.
    Json,
}

/// A moment of a run.
pub struct View<'v> {
    /// What is known.
    pub copier: &'v Copier,
    /// Bytes of blobs that have come through.
    pub bytes: u64,
    /// Since the run began.
    pub elapsed: Duration,
    /// How long the registries make us wait, if nothing else can be done.
    pub wait: Option<Duration>,
}

/// Tells of a run in one form.
pub enum Report {
    /// Bars, on a terminal.
    Bars(Bars),
    /// Lines of text; the field says when the wait was last spoken of.
    Lines(Option<Duration>),
    /// Lines of JSON.
    Json,
}

/// Lines on a terminal that stay where they are.
pub struct Bars {
    all: MultiProgress,
    images: Vec<ProgressBar>,
    total: ProgressBar,
}

/// The most lines for images in work.
const IMAGE_LINES_MAX: usize = 12;
/// How often lines of text speak of a wait that goes on.
const WAIT_SPOKEN_OF: Duration = Duration::from_secs(600);

impl Report {
    /// The report for where the output goes.
    pub fn new(format: Format) -> Report {
        let is_terminal = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
        match format {
            Format::Json => Report::Json,
            Format::Text if is_terminal => Report::Bars(Bars::new()),
            Format::Text => Report::Lines(None),
        }
    }

    /// Tells of something that happened.
    pub fn tell(&mut self, notice: &Notice) {
        match self {
            Report::Json => print(&in_json(notice)),
            Report::Lines(_) => print(&in_words(notice)),
            // The bars show what goes well.
            Report::Bars(_) if matches!(notice, Notice::Arrived { .. }) => {}
            Report::Bars(bars) => bars.all.suspend(|| print(&in_words(notice))),
        }
    }

    /// Shows how far the run is.
    pub fn show(&mut self, view: &View) {
        match (self, view.wait) {
            (Report::Bars(bars), _) => bars.show(view),
            (Report::Lines(spoken), Some(wait)) => {
                if spoken.is_none_or(|spoken| view.elapsed >= spoken + WAIT_SPOKEN_OF) {
                    *spoken = Some(view.elapsed);
                    let tally = &view.copier.tally;
                    print(&format!(
                        "waiting for {}, then going on; {} of {} images are settled",
                        span(wait),
                        tally.settled(),
                        tally.wanted
                    ));
                }
            }
            (Report::Lines(spoken), None) => *spoken = None,
            (Report::Json, _) => {}
        }
    }

    /// Sums the run up.
    pub fn finish(&mut self, tally: &Tally, elapsed: Duration, dry: bool) {
        match self {
            Report::Json => print(&summary_in_json(tally, elapsed, dry)),
            Report::Lines(_) => print(&summary_in_words(tally, elapsed, dry)),
            Report::Bars(bars) => {
                bars.all.clear().unwrap_or_default();
                print(&summary_in_words(tally, elapsed, dry));
            }
        }
    }
}

impl Bars {
    fn new() -> Bars {
        let all = MultiProgress::new();
        let total = all.add(ProgressBar::new(0));
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} images, {msg}");
        total.set_style(style.expect("the template is well-formed"));
        Bars {
            all,
            images: Vec::new(),
            total,
        }
    }

    fn show(&mut self, view: &View) {
        let tally = &view.copier.tally;
        let mut shown = 0;
        for (name, arrived, parts) in view.copier.in_work().take(IMAGE_LINES_MAX) {
            if shown == self.images.len() {
                let line = ProgressBar::new_spinner();
                let style = ProgressStyle::with_template("{spinner} {msg}");
                line.set_style(style.expect("the template is well-formed"));
                self.images.push(self.all.insert_before(&self.total, line));
            }
            self.images[shown].set_message(format!("{name}  {arrived} of {parts}"));
            self.images[shown].tick();
            shown += 1;
        }
        for line in self.images.drain(shown..) {
            line.finish_and_clear();
            self.all.remove(&line);
        }
        let secs = view.elapsed.as_secs_f64().max(0.1);
        let rate = DecimalBytes((view.bytes as f64 / secs) as u64);
        let left = match (view.wait, remaining(tally, view.elapsed)) {
            (Some(wait), _) => format!("the registry makes us wait: {}", span(wait)),
            (None, Some(left)) => format!("{} left", span(left)),
            (None, None) => String::new(),
        };
        self.total.set_length(tally.wanted);
        self.total.set_position(tally.settled());
        self.total
            .set_message(format!("{}, {rate}/s, {left}", DecimalBytes(view.bytes)));
    }
}

/// How long it takes if it goes on like this.
fn remaining(tally: &Tally, elapsed: Duration) -> Option<Duration> {
    let settled = u32::try_from(tally.settled())
        .ok()
        .filter(|&settled| settled > 0)?;
    let open = u32::try_from(tally.wanted.saturating_sub(tally.settled())).ok()?;
    Some(elapsed / settled * open)
}

fn in_words(notice: &Notice) -> String {
    match notice {
        Notice::Found { name, tags, wanted } if tags == wanted => format!("{name}: {tags} tags"),
        Notice::Found { name, tags, wanted } => {
            format!("{name}: {tags} tags, {wanted} of them wanted")
        }
        Notice::Counted { host, quota } => {
            let left = HumanCount(quota.remaining);
            match quota.limit.zip(quota.window_secs) {
                Some((limit, window)) => {
                    let window = span(Duration::from_secs(window));
                    format!("{host} allows {limit} pulls in {window}; {left} are left")
                }
                None => format!("{host} counts pulls; {left} are left"),
            }
        }
        Notice::Waiting { url, wait } => {
            format!("{url}: no more for now, going on in {}", span(*wait))
        }
        Notice::Arrived {
            name, copied: true, ..
        } => format!("{name}: copied"),
        Notice::Arrived {
            name,
            copied: false,
            ..
        } => format!("{name}: is there"),
        Notice::Failed { name, failure } => format!("{name}: did not arrive: {failure}"),
    }
}

fn in_json(notice: &Notice) -> String {
    match notice {
        Notice::Found { name, tags, wanted } => {
            json!({ "event": "found", "repository": name, "tags": tags, "wanted": wanted })
        }
        Notice::Counted { host, quota } => json!({
            "event": "quota", "registry": host.as_str(), "limit": quota.limit,
            "remaining": quota.remaining, "windowSeconds": quota.window_secs,
        }),
        Notice::Waiting { url, wait } => {
            json!({ "event": "waiting", "url": url, "seconds": wait.as_secs_f64() })
        }
        Notice::Arrived {
            name,
            target,
            digest,
            copied,
            ..
        } => json!({
            "event": if *copied { "copied" } else { "present" }, "image": name,
            "target": target.to_string(), "digest": digest.to_string(),
        }),
        Notice::Failed { name, failure } => {
            json!({ "event": "failed", "image": name, "cause": failure.to_string() })
        }
    }
    .to_string()
}

fn summary_in_words(tally: &Tally, elapsed: Duration, dry: bool) -> String {
    let Tally {
        copied,
        present,
        unmatched,
        failed,
        ..
    } = tally;
    let mut text = if dry {
        format!(
            "{} images: {copied} to copy, {present} are there",
            tally.wanted
        )
    } else {
        format!(
            "{} images: {copied} copied, {present} were there",
            tally.wanted
        )
    };
    if *unmatched > 0 {
        text += &format!(", {unmatched} have nothing for the platform");
    }
    if *failed > 0 {
        text += &format!(", {failed} did not arrive");
    }
    if dry {
        return text + "; " + &estimate_in_words(tally);
    }
    let bytes = tally.blob_bytes + tally.manifest_bytes;
    let rate = bytes as f64 / elapsed.as_secs_f64().max(0.001);
    text += &format!(
        "; {} in {} ({}/s), {} pulls",
        DecimalBytes(bytes),
        span(elapsed),
        DecimalBytes(rate as u64),
        HumanCount(tally.pulls)
    );
    if *failed > 0 {
        text += "; run the same again to go on with what is missing";
    }
    text
}

fn estimate_in_words(tally: &Tally) -> String {
    let estimate = tally.estimate();
    let about = if estimate.is_exact { "" } else { "about " };
    let bytes = match estimate.bytes {
        Some(bytes) => format!("{about}{}", DecimalBytes(bytes)),
        None => "an unknown number of bytes".into(),
    };
    let mut text = format!(
        "{bytes} to move, {about}{} pulls",
        HumanCount(estimate.pulls)
    );
    if let Some(quota) = tally.quota {
        text += &format!(", of which {} are left now", HumanCount(quota.remaining));
        let window = quota
            .limit
            .filter(|&limit| limit > 0)
            .zip(quota.window_secs);
        if let Some((limit, window)) = window {
            let windows = estimate
                .pulls
                .saturating_sub(quota.remaining)
                .div_ceil(limit);
            if windows > 0 {
                let wait = span(Duration::from_secs(windows.saturating_mul(window)));
                text += &format!(": with waiting, {wait}");
            }
        }
    }
    text
}

fn summary_in_json(tally: &Tally, elapsed: Duration, dry: bool) -> String {
    let mut summary = json!({
        "event": "summary", "images": tally.wanted, "copied": tally.copied,
        "present": tally.present, "unmatched": tally.unmatched, "failed": tally.failed,
        "manifests": tally.manifests, "blobs": tally.blobs, "mounted": tally.mounted,
        "bytes": tally.blob_bytes + tally.manifest_bytes, "pulls": tally.pulls,
        "seconds": elapsed.as_secs_f64(), "dryRun": dry,
    });
    if dry {
        summary["estimate"] = json!(tally.estimate());
    }
    summary.to_string()
}

/// A span of time with its two largest units.
fn span(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{:.1} s", time.as_secs_f64()),
        secs @ 1..60 => format!("{secs} s"),
        secs @ 60..3600 => format!("{} min {} s", secs / 60, secs % 60),
        secs @ 3600..86_400 => format!("{} h {} min", secs / 3600, secs % 3600 / 60),
        secs => format!("{} d {} h", secs / 86_400, secs % 86_400 / 3600),
    }
}

fn print(line: &str) {
    // When nobody reads any more, the copying still goes on.
    let _ = writeln!(std::io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrate::quota::Quota;

    #[test]
    fn summaries_say_what_arrived_and_what_to_do() {
        let quota = Quota {
            limit: Some(100),
            remaining: 40,
            window_secs: Some(21600),
            reset: None,
        };
        let tally = Tally {
            wanted: 10,
            copied: 7,
            present: 1,
            unmatched: 1,
            failed: 1,
            blob_bytes: 3_000_000,
            pulls: 240,
            quota: Some(quota),
            ..Tally::default()
        };
        let minute = Duration::from_secs(60);
        assert_eq!(
            summary_in_words(&tally, minute, false),
            "10 images: 7 copied, 1 were there, 1 have nothing for the platform, 1 did not arrive; \
             3.00 MB in 1 min 0 s (50.00 kB/s), 240 pulls; run the same again to go on with what \
             is missing"
        );
        assert!(summary_in_words(&tally, minute, true).ends_with(
            "3.00 MB to move, 240 pulls, of which 40 are left now: with waiting, 12 h 0 min"
        ));
    }

    #[test]
    fn spans_have_two_units() {
        for (secs, text) in [
            (0.25, "0.2 s"),
            (59.9, "59 s"),
            (61.0, "1 min 1 s"),
            (21_540.0, "5 h 59 min"),
            (90_000.0, "1 d 1 h"),
        ] {
            assert_eq!(span(Duration::from_secs_f64(secs)), text);
        }
    }
}
