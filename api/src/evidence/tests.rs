//! The whole way of a clip, on a folder and a database in a temporary place.

use std::path::PathBuf;

use novastream_features::picture::{ImageLimits, RgbImage, decode_image};
use novastream_inference::evidence::ClipContent;
use object_store::memory::InMemory;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::config::StoreSettings;
use crate::store::{NewClip, SqliteStore, Write};

const SOON: Duration = Duration::from_secs(20);

struct Place {
    dir: TempDir,
    index: Arc<dyn Store>,
    settings: EvidenceSettings,
}

impl Place {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("x.db");
        let index = SqliteStore::open(&database, &StoreSettings::default()).await;
        let settings = EvidenceSettings {
            dir: Some(dir.path().join("clips-here")),
            ..EvidenceSettings::default()
        };
        Self {
            index: Arc::new(index.unwrap()),
            settings,
            dir,
        }
    }

    fn open(&self) -> Clips {
        let clips = Clips::open(&self.settings, Arc::clone(&self.index));
        clips.unwrap().unwrap()
    }

    fn files(&self) -> Vec<PathBuf> {
        let root = self.dir.path().join("clips-here").join(FOLDER);
        let days = std::fs::read_dir(root).into_iter().flatten();
        let files = days.flat_map(|day| std::fs::read_dir(day.unwrap().path()).unwrap());
        files.map(|file| file.unwrap().path()).collect()
    }

    /// Makes everything that is kept older, in the database and by its folder.
    async fn age(&self, days: i64) {
        let path = self.dir.path().join("x.db");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
        let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
        sqlx::query("UPDATE evidence_clips SET stored_at = stored_at - ?")
            .bind(days * 86_400_000)
            .execute(&pool)
            .await
            .unwrap();
        pool.close().await;
        for file in self.files() {
            let day = file.parent().unwrap();
            let date: jiff::civil::Date =
                day.file_name().unwrap().to_str().unwrap().parse().unwrap();
            let older = date.checked_sub(jiff::Span::new().days(days)).unwrap();
            let older = day.with_file_name(older.to_string());
            std::fs::create_dir_all(&older).unwrap();
            std::fs::rename(&file, older.join(file.file_name().unwrap())).unwrap();
        }
    }
}

fn id(digit: char) -> String {
    digit.to_string().repeat(DIGITS)
}

async fn keep(clips: &Clips, stream_id: &str, id: &str, content: ClipContent<'_>) {
    let clip = Clip {
        id,
        stream_id,
        content,
    };
    assert!(clips.offer(clip));
    assert!(clips.flush(SOON).await);
}

async fn there(clips: &Clips, stream_id: &str, id: &str) -> bool {
    clips
        .get(stream_id, id, View::Preview)
        .await
        .unwrap()
        .is_some()
}

#[tokio::test]
async fn without_a_place_nothing_is_kept() {
    let place = Place::new().await;
    let none = Clips::open(&EvidenceSettings::default(), Arc::clone(&place.index));
    assert!(none.unwrap().is_none());
}

#[tokio::test]
async fn a_picture_comes_back_blurred_and_whole_to_its_stream_only() {
    let place = Place::new().await;
    let clips = place.open();
    let data = (0..640 * 360).flat_map(|i| if i % 4 < 2 { [250; 3] } else { [5; 3] });
    let image = RgbImage::new(640, 360, data.collect()).unwrap();
    keep(&clips, "s", &id('a'), ClipContent::Picture(&image)).await;
    let get = async |view| clips.get("s", &id('a'), view).await.unwrap().unwrap();
    let (preview, original) = (get(View::Preview).await, get(View::Original).await);
    assert_eq!(
        (preview.content_type, original.content_type),
        ("image/jpeg", "image/jpeg")
    );
    let look = |found: &Found| {
        let image = decode_image(&found.bytes, &ImageLimits::default()).unwrap();
        let (low, high) = (
            image.data.iter().min().unwrap(),
            image.data.iter().max().unwrap(),
        );
        (image.width, image.height, high - low)
    };
    let (width, height, contrast) = look(&preview);
    assert_eq!((width, height), (320, 180));
    assert!(contrast < 40, "{contrast}");
    let (width, height, contrast) = look(&original);
    assert_eq!((width, height), (640, 360));
    assert!(contrast > 150, "{contrast}");

    assert!(!there(&clips, "t", &id('a')).await, "another stream's");
    for wrong in [
        "",
        "../../x.db",
        "a",
        &id('A'),
        &id('g'),
        &id('b'),
        "%2e%2e%2fx",
    ] {
        assert!(!there(&clips, "s", wrong).await, "{wrong}");
    }
    // Nobody else on this machine sees the folder.
    use std::os::unix::fs::PermissionsExt as _;
    let folder = std::fs::metadata(place.dir.path().join("clips-here")).unwrap();
    assert_eq!(folder.permissions().mode() & 0o077, 0);
}

#[tokio::test]
async fn a_clip_that_comes_twice_is_one_and_outlives_a_restart() {
    let place = Place::new().await;
    let clips = place.open();
    for _ in 0..2 {
        keep(&clips, "s", &id('c'), ClipContent::Sound(&[0.5; 1600])).await;
    }
    assert_eq!(place.files().len(), 2);
    let held = place.index.clip_bytes().await.unwrap();
    let sizes = place
        .files()
        .into_iter()
        .map(|f| f.metadata().unwrap().len());
    assert_eq!(held as u64, sizes.sum::<u64>());
    let again = place.open();
    let found = again
        .get("s", &id('c'), View::Original)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (found.content_type, &found.bytes[..4]),
        ("audio/wav", &b"RIFF"[..])
    );
}

#[tokio::test]
async fn what_is_too_old_is_gone_at_once_and_deleted_later() {
    let mut place = Place::new().await;
    place.settings.max_age_h = 7 * 24;
    let clips = place.open();
    keep(&clips, "s", &id('1'), ClipContent::Sound(&[0.1; 800])).await;
    place.age(8).await;
    keep(&clips, "s", &id('2'), ClipContent::Sound(&[0.1; 800])).await;
    assert!(!there(&clips, "s", &id('1')).await);
    assert_eq!(place.files().len(), 4);
    assert_eq!(clips.prune().await.unwrap(), 1);
    assert_eq!(place.files().len(), 2);
    assert!(there(&clips, "s", &id('2')).await);
    assert_eq!(clips.prune().await.unwrap(), 0);
}

#[tokio::test]
async fn the_oldest_go_when_there_is_too_much_without_waiting_for_a_round() {
    let mut place = Place::new().await;
    // Room for two: a clip has some 2 KB of sound and 1 to 3 KB of preview.
    place.settings.max_bytes = 10_000;
    let clips = place.open();
    let rounds = clips.clone().keep_within_bounds(Duration::from_hours(1));
    let rounds = tokio::spawn(rounds);
    for digit in '1'..='6' {
        keep(&clips, "s", &id(digit), ClipContent::Sound(&[0.1; 1000])).await;
    }
    timeout(SOON, async {
        while place.index.clip_bytes().await.unwrap() > 10_000 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    assert!(there(&clips, "s", &id('6')).await);
    assert!(!there(&clips, "s", &id('1')).await);
    rounds.abort();
}

#[tokio::test]
async fn files_of_days_long_past_are_swept_and_others_are_left() {
    let place = Place::new().await;
    let clips = place.open();
    keep(&clips, "s", &id('d'), ClipContent::Sound(&[0.1; 800])).await;
    let root = place.dir.path().join("clips-here").join(FOLDER);
    for folder in ["2020-02-03", "not-a-day", "2020-02-3x"] {
        std::fs::create_dir(root.join(folder)).unwrap();
        std::fs::write(root.join(folder).join("f.jpg"), b"x").unwrap();
    }
    let sweep = async || {
        retention::sweep(clips.objects.as_ref(), &clips.settings)
            .await
            .unwrap()
    };
    assert_eq!(sweep().await, 1);
    assert!(!root.join("2020-02-03").join("f.jpg").exists());
    assert_eq!(place.files().len(), 4);
    assert_eq!(sweep().await, 0);
    assert!(there(&clips, "s", &id('d')).await);
}

#[tokio::test]
async fn a_store_that_fails_costs_the_clip_and_nothing_else() {
    let place = Place::new().await;
    let clips = place.open();
    // A file where the folder was.
    let root = place.dir.path().join("clips-here");
    std::fs::remove_dir_all(&root).unwrap();
    std::fs::write(&root, b"").unwrap();
    keep(&clips, "s", &id('e'), ClipContent::Sound(&[0.1; 800])).await;
    let found = clips.get("s", &id('e'), View::Preview).await;
    assert!(!matches!(found, Ok(Some(_))));
    std::fs::remove_file(&root).unwrap();
    std::fs::create_dir(&root).unwrap();
    keep(&clips, "s", &id('f'), ClipContent::Sound(&[0.1; 800])).await;
    assert!(there(&clips, "s", &id('f')).await);
}

#[test]
fn blocklisted_pictures_are_kept_where_that_is_asked_for_only() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut place = Place::new().await;
        let clips = place.open();
        assert!(clips.keeps(Category::Sexual) && !clips.keeps(Category::BlocklistedMedia));
        place.settings.blocklisted = true;
        assert!(place.open().keeps(Category::BlocklistedMedia));
    });
}

#[tokio::test]
async fn originals_need_a_token_where_there_are_any() {
    let mut place = Place::new().await;
    assert_eq!(
        place.open().access(Some("whatever-0123456789")),
        Access::Off
    );
    let file = place.dir.path().join("tokens");
    std::fs::write(&file, "a-token-of-some-length\n").unwrap();
    place.settings.original_tokens = Some(file);
    let clips = place.open();
    assert_eq!(clips.access(None), Access::Denied);
    assert_eq!(clips.access(Some("another-0123456789")), Access::Denied);
    assert_eq!(
        clips.access(Some("a-token-of-some-length")),
        Access::Granted
    );
    place.settings.original_tokens = Some("/nowhere/tokens".into());
    let refused = Clips::open(&place.settings, Arc::clone(&place.index));
    assert_eq!(refused.map(|_| ()).unwrap_err().code(), "evidence_tokens");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Whatever comes, the newest that fit are left, and the sum is what is left.
    #[test]
    fn pruning_leaves_the_newest_that_fit(
        sizes in proptest::collection::vec(1_i64..1000, 0..230),
        most in 0_u64..20_000,
    ) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let place = Place::new().await;
            let objects = InMemory::new();
            let settings = EvidenceSettings { max_bytes: most, ..EvidenceSettings::default() };
            let notes = sizes.iter().enumerate().map(|(i, bytes)| NewClip {
                id: format!("{i:032x}"),
                stream_id: "s".into(),
                sound: i % 2 == 0,
                bytes: *bytes,
            });
            let writes = notes.map(|clip| place.index.write(Write {
                clip: Some(clip),
                ..Write::default()
            }));
            let written = futures_util::future::join_all(writes).await;
            for (i, one) in written.into_iter().enumerate() {
                let at = one.unwrap().clip_stored_at.unwrap();
                for suffix in [PREVIEW, original(i % 2 == 0)] {
                    let path = super::place(&format!("{i:032x}"), at, suffix);
                    objects.put(&path, vec![0_u8].into()).await.unwrap();
                }
            }
            // Writes that wait together may be committed in another order.
            let index = place.index.as_ref();
            let mut left = index.oldest_clips(1000).await.unwrap();
            let mut sum: i64 = sizes.iter().sum();
            while sum > most as i64 {
                sum -= left.remove(0).bytes;
            }
            let (gone, held) = retention::prune(&objects, index, &settings).await.unwrap();
            prop_assert_eq!((gone as usize, held), (sizes.len() - left.len(), sum));
            prop_assert_eq!(index.clip_bytes().await.unwrap(), sum);
            prop_assert_eq!(&index.oldest_clips(1000).await.unwrap(), &left);
            let listed = objects.list(None);
            let files = futures_util::StreamExt::count(listed).await;
            prop_assert_eq!(files, left.len() * 2);
            Ok(())
        })?;
    }
}
