//! A plot as SVG: throughput over frame size, on logarithmic axes.

use std::fmt::Write as _;

/// One line of the plot.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its legend.
    pub name: String,
    /// Frame size in bytes, and throughput in MB/s.
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 20.0;
const BOTTOM: f64 = 50.0;
const COLOURS: [&str; 6] = ["#1b6ca8", "#8fc1e3", "#c0392b", "#e8a49c", "#2e7d32", "#9e9e9e"];
const SIZES: [(f64, &str); 6] = [
    (64.0, "64 B"),
    (256.0, "256 B"),
    (1024.0, "1 KiB"),
    (4096.0, "4 KiB"),
    (16384.0, "16 KiB"),
    (131_072.0, "128 KiB"),
];
const RATES: [f64; 8] = [100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0, 20_000.0];

/// The plot of `lines`.
#[must_use]
pub fn svg(title: &str, lines: &[Line]) -> String {
    let mut out = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' \
         font-family='sans-serif' font-size='12'>\n<title>{title}</title>\n\
         <rect width='{WIDTH}' height='{HEIGHT}' fill='white'/>\n"
    );
    let bottom = HEIGHT - BOTTOM;
    for (size, label) in SIZES {
        let x = across(size);
        add(
            &mut out,
            &format!(
                "<path d='M{x:.1} {TOP}V{bottom}' stroke='#ddd'/>\
             <text x='{x:.1}' y='{:.1}' text-anchor='middle'>{label}</text>",
                bottom + 18.0
            ),
        );
    }
    for rate in RATES {
        let y = up(rate);
        add(
            &mut out,
            &format!(
                "<path d='M{LEFT} {y:.1}H{}' stroke='#ddd'/>\
             <text x='{}' y='{:.1}' text-anchor='end'>{rate}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                y + 4.0
            ),
        );
    }
    add(
        &mut out,
        &format!(
            "<text x='{:.1}' y='{}' text-anchor='middle'>payload of a frame</text>\
         <text x='16' y='{:.1}' text-anchor='middle' transform='rotate(-90 16 {:.1})'>MB/s</text>",
            f64::midpoint(LEFT, WIDTH),
            HEIGHT - 10.0,
            bottom / 2.0,
            bottom / 2.0
        ),
    );
    for ((index, line), colour) in lines.iter().enumerate().zip(COLOURS.iter().cycle()) {
        let mut points = String::new();
        for (size, rate) in &line.points {
            add(&mut points, &format!("{:.1},{:.1}", across(*size), up(*rate)));
        }
        let y = bottom - 12.0 - 18.0 * (lines.len().saturating_sub(index + 1)) as f64;
        add(
            &mut out,
            &format!(
                "<polyline points='{}' fill='none' stroke='{colour}' stroke-width='2'/>\
             <path d='M{:.1} {y:.1}h24' stroke='{colour}' stroke-width='2'/>\
             <text x='{:.1}' y='{:.1}'>{}</text>",
                points.trim().replace('\n', " "),
                WIDTH - 260.0,
                WIDTH - 230.0,
                y + 4.0,
                line.name
            ),
        );
    }
    add(&mut out, "</svg>");
    out
}

fn across(size: f64) -> f64 {
    LEFT + (size / 64.0).log2() / 11.0 * (WIDTH - LEFT - RIGHT)
}

fn up(rate: f64) -> f64 {
    HEIGHT - BOTTOM - (rate / 100.0).log2() / 200f64.log2() * (HEIGHT - TOP - BOTTOM)
}

fn add(out: &mut String, text: &str) {
    // Writing to a string cannot fail.
    _ = writeln!(out, "{text}");
}
