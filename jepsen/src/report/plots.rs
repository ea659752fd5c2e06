//! Latencies and rates over time, one panel a workload, with the faults shaded.
//!
//! Colours say how an operation ended (blue `ok`, pink `fail`, orange `info`, as in Jepsen), shapes and dashes what it
//! was. Where points would lie on top of each other only a few of each kind are drawn, the slowest always among them.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use plotters::chart::{ChartBuilder, ChartContext};
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::element::{Circle, Cross, EmptyElement, PathElement, Rectangle, Text, TriangleMarker};
use plotters::prelude::*;
use plotters::style::full_palette::{AMBER, BLUE_600, GREY_500, GREY_700, PINK_400};

use super::Run;
use crate::history::{Call, History, Kind, Process, Window, calls, windows};

type Drawn<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Failed = Box<dyn Error + Send + Sync>;

const WIDTH: u32 = 1_200;
/// Of one panel, and of the title above all.
const HEIGHT: u32 = 280;
const TITLE: u32 = 56;

/// The time axis goes on beyond the end of the run, where nothing lies below the legend.
const WITH_LEGEND: f64 = 1.13;

/// Points of one kind in one span of time that are drawn.
const POINTS: usize = 6;
/// Spans of time over the width.
const SPANS: u64 = 240;

/// One operation of a plot.
struct Dot<'a> {
    f: &'a str,
    kind: Kind,
    /// When it ended, in seconds.
    at: f64,
    /// How long it took, in milliseconds.
    took: f64,
}

/// One workload's operations.
struct Panel<'a> {
    workload: &'a str,
    dots: Vec<Dot<'a>>,
}

/// Writes `latency.svg` and `rate.svg`.
pub fn write(dir: &Path, run: &Run, history: &History) -> Result<(), Failed> {
    let panels = panels(history);
    let windows = windows(history);
    let end = history.ops.last().map_or(1.0, |op| seconds(op.time)).max(1.0);
    let draw: [(&str, &str, Draw); 2] = [
        ("latency.svg", "latency in ms", latency),
        ("rate.svg", "operations a second", rate),
    ];
    for (file, what, draw) in draw {
        let path = dir.join(file);
        let height = TITLE + HEIGHT * panels.len().max(1) as u32;
        let area = SVGBackend::new(&path, (WIDTH, height)).into_drawing_area();
        area.fill(&WHITE).map_err(own)?;
        let (head, body) = area.split_vertically(TITLE);
        title(&head, run, what)?;
        let places = body.split_evenly((panels.len().max(1), 1));
        for (panel, place) in panels.iter().zip(&places) {
            draw(place, panel, &windows, end)?;
        }
        area.present().map_err(own)?;
    }
    Ok(())
}

type Draw = fn(&Drawn<'_>, &Panel<'_>, &[Window], f64) -> Result<(), Failed>;

fn own<E: Error + Send + Sync + 'static>(error: E) -> Failed {
    Box::new(error)
}

fn seconds(time: u64) -> f64 {
    time as f64 / 1e9
}

fn panels(history: &History) -> Vec<Panel<'_>> {
    let mut workloads: Vec<&str> = history
        .ops
        .iter()
        .filter(|op| op.process != Process::Nemesis)
        .map(|op| op.workload.as_deref().unwrap_or_default())
        .collect();
    workloads.sort_unstable();
    workloads.dedup();
    let of = |workload| Panel {
        workload,
        dots: calls(history, workload).iter().filter_map(dot).collect(),
    };
    workloads.into_iter().map(of).collect()
}

fn dot<'a>(call: &Call<'a>) -> Option<Dot<'a>> {
    let end = call.end?;
    Some(Dot {
        f: call.f(),
        kind: call.kind(),
        at: seconds(end.time),
        took: (end.time.saturating_sub(call.invoke.time) as f64 / 1e6).max(0.05),
    })
}

fn title(area: &Drawn<'_>, run: &Run, what: &str) -> Result<(), Failed> {
    let faults = if run.nemeses.is_empty() {
        "no faults".to_owned()
    } else {
        run.nemeses.join(", ")
    };
    let head = ("sans-serif", 20).into_font().color(&BLACK);
    area.draw(&Text::new(format!("{}: {what}", run.name), (12, 10), head))
        .map_err(own)?;
    let below = ("sans-serif", 13).into_font().color(&GREY_700);
    let text = format!("shaded while in effect: {faults}");
    area.draw(&Text::new(text, (12, 36), below)).map_err(own)
}

fn colour(kind: Kind) -> RGBColor {
    match kind {
        Kind::Ok => BLUE_600,
        Kind::Fail => PINK_400,
        Kind::Info | Kind::Invoke => AMBER,
    }
}

/// The operations of a panel, in the order of their shapes.
fn names<'a>(panel: &Panel<'a>) -> Vec<&'a str> {
    let mut names: Vec<&str> = panel.dots.iter().map(|dot| dot.f).collect();
    names.sort_unstable();
    names.dedup();
    names
}

type Axes<'a, 'b, Y> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, Y>>;

/// Shades the faults, the first of each named.
fn shade<Y>(
    chart: &mut Axes<'_, '_, Y>,
    windows: &[Window],
    end: f64,
    low: f64,
    high: f64,
) -> Result<(), Failed>
where
    Y: Ranged<ValueType = f64>,
{
    const FAULTS: [RGBColor; 6] = [
        RGBColor(0xc6, 0x28, 0x28),
        RGBColor(0x6a, 0x1b, 0x9a),
        RGBColor(0x2e, 0x7d, 0x32),
        RGBColor(0x00, 0x83, 0x8f),
        RGBColor(0x4e, 0x34, 0x2e),
        RGBColor(0x9e, 0x9d, 0x24),
    ];
    let mut known: Vec<&str> = Vec::new();
    for window in windows {
        let place = known.iter().position(|fault| *fault == window.fault);
        let number = place.unwrap_or(known.len());
        let colour = FAULTS[number % FAULTS.len()];
        let (from, to) = (seconds(window.from), seconds(window.to));
        // What happens at once is a line.
        let to = to.max(from + end / 600.0);
        let area = Rectangle::new([(from, low), (to, high)], colour.mix(0.13).filled());
        chart.draw_series(std::iter::once(area)).map_err(own)?;
        if place.is_none() {
            known.push(&window.fault);
            let font = ("sans-serif", 11).into_font().color(&colour);
            let (down, text) = (2 + 12 * (number as i32 % 3), window.fault.clone());
            let label = EmptyElement::at((from, high)) + Text::new(text, (3, down), font);
            chart.draw_series(std::iter::once(label)).map_err(own)?;
        }
    }
    Ok(())
}

fn latency(area: &Drawn<'_>, panel: &Panel<'_>, windows: &[Window], end: f64) -> Result<(), Failed> {
    let most = panel.dots.iter().map(|dot| dot.took).fold(10.0, f64::max);
    let least = panel.dots.iter().map(|dot| dot.took).fold(1.0, f64::min);
    let (low, high) = (least * 0.8, most * 1.6);
    let mut chart = ChartBuilder::on(area)
        .caption(panel.workload, ("sans-serif", 15))
        .margin(8)
        .margin_right(16)
        .x_label_area_size(30)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..end * WITH_LEGEND, (low..high).log_scale())
        .map_err(own)?;
    shade(&mut chart, windows, end, low, high)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GREY_500.mix(0.25))
        .x_labels(12)
        .y_labels(6)
        .x_desc("seconds")
        .y_desc("ms")
        .y_label_formatter(&|value| format!("{value}"))
        .draw()
        .map_err(own)?;
    let names = names(panel);
    let dots = thinned(panel, end);
    for (number, name) in names.iter().enumerate() {
        for kind in [Kind::Ok, Kind::Fail, Kind::Info] {
            let of = dots.iter().filter(|dot| dot.f == *name && dot.kind == kind);
            let points: Vec<_> = of.map(|dot| (dot.at, dot.took)).collect();
            if points.is_empty() {
                continue;
            }
            let style = ShapeStyle::from(colour(kind).mix(0.75));
            let label = format!("{name} {}", kind.as_str());
            let shape = number % 3;
            let drawn = match shape {
                0 => chart.draw_series(points.iter().map(|at| Circle::new(*at, 2, style.filled()))),
                1 => chart.draw_series(points.iter().map(|at| Cross::new(*at, 3, style))),
                _ => chart.draw_series(
                    points
                        .iter()
                        .map(|at| TriangleMarker::new(*at, 4, style.filled())),
                ),
            };
            drawn.map_err(own)?.label(label).legend(move |(x, y)| {
                let at = (x + 8, y);
                match shape {
                    0 => Circle::new(at, 3, style.filled()).into_dyn(),
                    1 => Cross::new(at, 4, style).into_dyn(),
                    _ => TriangleMarker::new(at, 5, style.filled()).into_dyn(),
                }
            });
        }
    }
    legend(&mut chart)
}

/// A few of each kind in each span of time, the slowest among them.
fn thinned<'a, 'b>(panel: &'b Panel<'a>, end: f64) -> Vec<&'b Dot<'a>> {
    let mut spans: BTreeMap<(u64, &str, Kind), Vec<&Dot<'a>>> = BTreeMap::new();
    for dot in &panel.dots {
        let span = (dot.at / end * SPANS as f64) as u64;
        spans.entry((span, dot.f, dot.kind)).or_default().push(dot);
    }
    let mut kept = Vec::new();
    for mut dots in spans.into_values() {
        dots.sort_by(|one, other| other.took.total_cmp(&one.took));
        let every = dots.len().div_ceil(POINTS).max(1);
        kept.extend(dots.into_iter().step_by(every));
    }
    kept
}

fn rate(area: &Drawn<'_>, panel: &Panel<'_>, windows: &[Window], end: f64) -> Result<(), Failed> {
    let mut counts: BTreeMap<(&str, Kind), Vec<f64>> = BTreeMap::new();
    let whole = end.ceil() as usize;
    for dot in &panel.dots {
        let seconds = counts
            .entry((dot.f, dot.kind))
            .or_insert_with(|| vec![0.0; whole + 1]);
        seconds[(dot.at as usize).min(whole)] += 1.0;
    }
    let most = counts.values().flatten().copied().fold(5.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(panel.workload, ("sans-serif", 15))
        .margin(8)
        .margin_right(16)
        .x_label_area_size(30)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..end * WITH_LEGEND, 0.0..most * 1.2)
        .map_err(own)?;
    shade(&mut chart, windows, end, 0.0, most * 1.2)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GREY_500.mix(0.25))
        .x_labels(12)
        .y_labels(6)
        .x_desc("seconds")
        .y_desc("a second")
        .y_label_formatter(&|value| format!("{value}"))
        .draw()
        .map_err(own)?;
    let names = names(panel);
    for ((name, kind), seconds) in counts {
        let number = names.iter().position(|known| *known == name).unwrap_or_default();
        // The first operation is drawn strongest, later ones fainter.
        let strength = [1.0, 0.6, 0.35][number % 3];
        let style =
            ShapeStyle::from(colour(kind).mix(strength)).stroke_width(if kind == Kind::Ok { 2 } else { 1 });
        let line = seconds
            .iter()
            .enumerate()
            .map(|(second, count)| (second as f64 + 0.5, *count));
        let line = line.filter(|(at, _)| *at <= end);
        chart
            .draw_series(LineSeries::new(line, style))
            .map_err(own)?
            .label(format!("{name} {}", kind.as_str()))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
    }
    legend(&mut chart)
}

fn legend<'a, 'b: 'a, Y>(chart: &mut Axes<'a, 'b, Y>) -> Result<(), Failed>
where
    Y: Ranged<ValueType = f64>,
{
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .border_style(GREY_500.mix(0.4))
        .label_font(("sans-serif", 11))
        .draw()
        .map_err(own)
}
