//! The streams' content, made with the `ffmpeg` program: 720p30 H.264 with AAC sound, cut into
//! segments of 2 s that begin with a keyframe.

use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;

use super::Picture;
use crate::error::EvalError;

/// Seconds of one clip; streams loop over it, each from another place.
const SECONDS: u32 = 40;
/// A font that Debian's `fonts-dejavu-core` brings.
const FONT: &str = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf";

/// Segments by clip.
#[derive(Debug, Clone)]
pub(super) struct Clips(Vec<Vec<Bytes>>);

impl Clips {
    /// Makes what is not in `cache`.
    pub(super) fn make(
        picture: Picture,
        text: bool,
        cache: Option<&Path>,
    ) -> Result<Self, EvalError> {
        let kinds: &[bool] = match picture {
            Picture::Moving => &[true],
            Picture::Still => &[false],
            Picture::Mixed => &[true, false],
        };
        let own = std::env::temp_dir().join(format!("novastream-clips-{}", std::process::id()));
        let root = cache.unwrap_or(&own);
        let mut clips = Vec::new();
        let made = (|| {
            for &moving in kinds {
                for seed in 0..2 {
                    clips.push(clip(root, moving, text, seed)?);
                }
            }
            Ok(())
        })();
        if cache.is_none() {
            // Everything is in memory; what stays behind in the temporary folder harms nobody.
            let _ = std::fs::remove_dir_all(&own);
        }
        made.map(|()| Self(clips))
    }

    /// The bytes that `stream` sends as its `turn`-th segment.
    pub(super) fn segment(&self, stream: usize, turn: u64) -> Bytes {
        let clip = &self.0[stream % self.0.len()];
        let at = (stream * 7) as u64 + turn;
        clip[(at % clip.len() as u64) as usize].clone()
    }

    #[cfg(test)]
    pub(super) fn of(clips: Vec<Vec<Bytes>>) -> Self {
        Self(clips)
    }
}

fn clip(root: &Path, moving: bool, text: bool, seed: u32) -> Result<Vec<Bytes>, EvalError> {
    let kind = if moving { "moving" } else { "still" };
    let words = if text { "-text" } else { "" };
    let folder = root.join(format!("720p30-{kind}{words}-{seed}-{SECONDS}s"));
    if !folder.join("done").exists() {
        render(&folder, moving, text, seed)?;
    }
    let entries = std::fs::read_dir(&folder).map_err(EvalError::io("read", &folder))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "ts"))
        .collect();
    files.sort();
    if files.is_empty() {
        return Err(EvalError::internal(format!(
            "{} has no segment",
            folder.display()
        )));
    }
    let read = |path: PathBuf| match std::fs::read(&path) {
        Ok(bytes) => Ok(Bytes::from(bytes)),
        Err(error) => Err(EvalError::io("read", &path)(error)),
    };
    files.into_iter().map(read).collect()
}

/// Lavfi graph of the picture. Noise keeps an encoder from making nothing of it.
fn graph(moving: bool, text: bool, seed: u32) -> String {
    let size = "s=1280x720:r=30";
    let mut graph = if moving {
        format!(
            "gradients={size}:n=6:speed=0.02:seed={seed}:type=radial,\
             noise=alls=12:allf=t:all_seed={seed}"
        )
    } else {
        let colour = ["smptehdbars", "testsrc"][seed as usize % 2];
        // One frame for ever, with a camera's noise.
        format!("{colour}={size},trim=end_frame=1,loop=-1:1,setpts=N/30/TB,noise=alls=4:allf=t")
    };
    if text {
        let base = format!("fontfile={FONT}:fontcolor=white:box=1:boxcolor=black@0.6");
        graph.push_str(&format!(
            ",drawtext={base}:fontsize=36:x=40:y=40:text='Welcome to the stream number {seed}'"
        ));
        let lines = [
            "what a save",
            "hello from Lisbon",
            "next map please",
            "that was close",
        ];
        for (i, line) in lines.iter().enumerate() {
            let (from, to) = (i * 10, (i + 1) * 10);
            graph.push_str(&format!(
                ",drawtext={base}:fontsize=28:x=40:y=640:text='{line}':enable='between(t,{from},{to})'"
            ));
        }
    }
    graph
}

fn render(folder: &Path, moving: bool, text: bool, seed: u32) -> Result<(), EvalError> {
    std::fs::create_dir_all(folder).map_err(EvalError::io("write", folder))?;
    eprintln!("making {}", folder.display());
    let sound = format!(
        "anoisesrc=c=pink:a=0.08:seed={seed}:r=48000,tremolo=f=3:d=0.7,volume='if(lt(mod(t,6),4),1,0.02)':eval=frame"
    );
    let length = SECONDS.to_string();
    let run = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-y"])
        .args(["-f", "lavfi", "-i", &graph(moving, text, seed)])
        .args(["-f", "lavfi", "-i", &sound])
        .args(["-t", &length])
        .args([
            "-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p",
        ])
        .args(["-b:v", "3M", "-maxrate", "3M", "-bufsize", "6M"])
        .args(["-g", "60", "-keyint_min", "60", "-sc_threshold", "0"])
        .args(["-c:a", "aac", "-b:a", "128k", "-ac", "2"])
        .args([
            "-f",
            "segment",
            "-segment_time",
            "2",
            "-segment_format",
            "mpegts",
        ])
        .arg(folder.join("%03d.ts"))
        .output()
        .map_err(|e| {
            EvalError::internal(format!("can't run ffmpeg (make setup installs it): {e}"))
        })?;
    if !run.status.success() {
        let message = String::from_utf8_lossy(&run.stderr);
        return Err(EvalError::internal(format!(
            "ffmpeg can't make the clip: {}",
            message.trim()
        )));
    }
    let done = folder.join("done");
    std::fs::write(&done, b"").map_err(EvalError::io("write", &done))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_loop_from_different_places() {
        let segments = |name: u8| (0..5).map(|i| Bytes::from(vec![name, i])).collect();
        let clips = Clips::of(vec![segments(0), segments(1)]);
        assert_eq!(clips.segment(0, 0), [0, 0].as_slice());
        assert_eq!(clips.segment(1, 0), [1, 2].as_slice());
        assert_eq!(clips.segment(2, 3), [0, 2].as_slice());
        assert_eq!(clips.segment(0, 5), clips.segment(0, 0));
    }

    #[test]
    fn a_clip_is_whole_segments_and_is_made_once() {
        if Command::new("ffmpeg").arg("-version").output().is_err() {
            println!("skipped: ffmpeg not present");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let clips = match Clips::make(Picture::Still, false, Some(dir.path())) {
            Ok(clips) => clips,
            Err(error) => {
                println!("skipped: ffmpeg cannot make this clip: {error}");
                return;
            }
        };
        assert!(
            clips
                .0
                .iter()
                .all(|clip| clip.len() == SECONDS as usize / 2)
        );
        // Transport stream packets begin with this byte.
        assert!(clips.0.iter().flatten().all(|segment| segment[0] == 0x47));
        let entries = || std::fs::read_dir(dir.path()).unwrap().count();
        let before = entries();
        Clips::make(Picture::Still, false, Some(dir.path())).unwrap();
        assert_eq!(entries(), before);
    }
}
