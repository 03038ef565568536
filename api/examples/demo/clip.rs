//! The demo's clip: 40 s of 720p30 made from drawn pictures, drawn text and synthesised sound.
//!
//! Nothing in it is downloaded and nothing in it is offensive: the "forbidden" picture is a drawn
//! poster that the demo itself puts on the media blocklist.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, bail};
use novastream_features::picture::RgbImage;

/// What a stretch of the clip holds, and so what must be found in it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Nothing that may be flagged.
    Calm,
    /// The blocklisted poster, resized and re-encoded.
    BlockedPicture,
    /// A scam written on the screen.
    ScamText,
    /// A siren in the sound.
    Siren,
}

/// A stretch of the clip, in seconds from its start.
pub struct Part {
    pub start_s: u32,
    pub end_s: u32,
    pub content: Content,
}

/// The clip's running order.
pub const PARTS: [Part; 7] = [
    part(0, 8, Content::Calm),
    part(8, 14, Content::BlockedPicture),
    part(14, 20, Content::Calm),
    part(20, 26, Content::ScamText),
    part(26, 30, Content::Calm),
    part(30, 36, Content::Siren),
    part(36, 40, Content::Calm),
];

/// Length of the clip in seconds.
pub const LENGTH_S: u32 = PARTS[PARTS.len() - 1].end_s;

const fn part(start_s: u32, end_s: u32, content: Content) -> Part {
    Part {
        start_s,
        end_s,
        content,
    }
}

/// Draws the poster that goes on the blocklist: rings, beams and bars, 1920×1080.
pub fn draw_poster() -> Result<RgbImage> {
    const WIDTH: u32 = 1920;
    const HEIGHT: u32 = 1080;
    let mut data = Vec::with_capacity((WIDTH * HEIGHT * 3) as usize);
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            let (fx, fy) = (f64::from(x) - 700.0, f64::from(y) - 420.0);
            let ring = ((fx.hypot(fy) / 70.0).sin() > 0.2) as u8;
            let beam = ((fy.atan2(fx) * 5.0).sin() > 0.55) as u8;
            let bar = ((x / 160 + y / 270) % 3 == 0) as u8;
            let corner = (x > 1300 && y > 600) as u8;
            data.extend_from_slice(&[
                30 + 150 * ring + 60 * corner,
                40 + 120 * beam + 40 * bar,
                70 + 60 * bar + 100 * corner * (1 - ring),
            ]);
        }
    }
    RgbImage::new(WIDTH, HEIGHT, data).context("the poster's size and pixels agree")
}

/// Renders the clip to `out` with the `ffmpeg` program; `poster` is a picture file.
pub fn render(poster: &Path, out: &Path) -> Result<()> {
    // A yelp: one tone swept three times a second with its harmonics and some echo.
    let sweep = "(2*PI*(1000*t-(450/(2*PI*3))*cos(2*PI*3*t)))";
    let siren = format!(
        "aevalsrc='0.4*sin({sweep})+0.2*sin(2*{sweep})+0.12*sin(3*{sweep})+0.08*sin(5*{sweep})':s=48000:d=6,\
         aecho=0.8:0.6:60|110:0.3|0.2"
    );
    // A plucked scale, so that the calm parts have sound that is not a bare tone.
    let note = "pow(2,floor(mod(t*2,8))/12*2)";
    let music = |seconds: u32| {
        format!(
            "aevalsrc='0.3*sin(2*PI*(110*{note})*t)*exp(-3*mod(t,0.5))\
             +0.15*sin(2*PI*(220*{note})*t)*exp(-4*mod(t,0.5))':s=48000:d={seconds}"
        )
    };
    let calm = |seconds: u32, seed: u32| {
        format!(
            "gradients=s=1280x720:r=30:d={seconds}:speed=0.01:seed={seed}\
             :c0=0x1d3557:c1=0x457b9d:c2=0xa8dadc:c3=0x2a9d8f:n=4,format=yuv420p"
        )
    };
    let line = |text: &str, y: u32, size: u32| {
        format!(
            "drawtext=font='DejaVu Sans':text='{text}':x=90:y={y}:fontsize={size}:fontcolor=white\
             :box=1:boxcolor=black@0.6:boxborderw=12"
        )
    };
    let scam = [
        line("FREE CRYPTO GIVEAWAY", 180, 72),
        line("Send 0.1 BTC and get 1 BTC back", 310, 52),
        line("claim now at double-your-coins.example", 420, 52),
    ]
    .join(",");

    let graph = [
        format!("{}[v0]", calm(8, 1)),
        "[0:v]trim=duration=6,scale=1280:720,setsar=1,fps=30,format=yuv420p[v1]".to_owned(),
        format!("{}[v2]", calm(6, 2)),
        format!("{},{scam}[v3]", calm(6, 3)),
        format!("{}[v4]", calm(14, 4)),
        "[v0][v1][v2][v3][v4]concat=n=5:v=1:a=0[v]".to_owned(),
        format!("{}[a0]", music(30)),
        format!("{siren}[a1]"),
        format!("{}[a2]", music(4)),
        "[a1]atrim=duration=6[a1t]".to_owned(),
        "[a0][a1t][a2]concat=n=3:v=0:a=1[a]".to_owned(),
    ]
    .join(";");

    let status = Command::new("ffmpeg")
        .args(["-hide_banner", "-loglevel", "error", "-y"])
        .args(["-loop", "1", "-framerate", "30", "-t", "6", "-i"])
        .arg(poster)
        .args(["-filter_complex", &graph, "-map", "[v]", "-map", "[a]"])
        .args(["-c:v", "libx264", "-preset", "veryfast", "-b:v", "1800k"])
        .args(["-g", "60", "-keyint_min", "60", "-sc_threshold", "0"])
        .args(["-c:a", "aac", "-b:a", "128k", "-ac", "2"])
        .args(["-t", &LENGTH_S.to_string()])
        .arg(out)
        .status()
        .context("starting ffmpeg; `make setup` installs it")?;
    if !status.success() {
        bail!("ffmpeg could not render the demo's clip ({status})");
    }
    Ok(())
}
