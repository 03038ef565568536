//! Opening a container without `avformat_find_stream_info`.
//!
//! `ffmpeg-next`'s own open functions always probe the streams, which decodes pictures before any
//! limit on their size can be set and reads up to five seconds of a live stream first. Here only
//! the header is read; decoders learn the rest from the first packets.
#![allow(unsafe_code, reason = "ffmpeg-next always probes the streams on open")]

use std::ffi::CString;
use std::ptr;
use std::sync::Arc;

use ffmpeg_next::ffi::{AVFMT_FLAG_CUSTOM_IO, AVFormatContext, EINVAL, ENOMEM};
use ffmpeg_next::ffi::{avformat_alloc_context, avformat_open_input};
use ffmpeg_next::format::context::{Input, StreamIo};
use ffmpeg_next::util::interrupt::{self, Interrupt};
use ffmpeg_next::{Dictionary, Error};

use crate::media::cancel::Guard;

fn interrupt_by(guard: &Arc<Guard>) -> Interrupt {
    let guard = Arc::clone(guard);
    interrupt::new(Box::new(move || guard.trip().is_some()))
}

/// Opens a container from a readable stream. `io` itself must fail once `guard` trips: libav does
/// not ask its interrupt callback around custom input.
pub(in crate::media) fn open_bytes(
    mut io: StreamIo,
    options: Dictionary<'_>,
    guard: &Arc<Guard>,
) -> Result<Input, Error> {
    let interrupt = interrupt_by(guard);
    // SAFETY: `pb` is a live read context that the returned `Input` owns from then on; on failure
    // `io` is still owned here and dropped after libav has freed the format context, which leaves
    // custom IO alone.
    unsafe {
        let context = allocate(&interrupt)?;
        (*context).pb = io.as_mut_ptr();
        (*context).flags |= AVFMT_FLAG_CUSTOM_IO;
        let context = open(context, None, options)?;
        Ok(Input::wrap_with_custom_io_and_interrupt(
            context,
            io,
            interrupt.guard,
        ))
    }
}

/// Opens a URL; every wait inside libav ends when `guard` trips.
pub(in crate::media) fn open_url(
    url: &str,
    options: Dictionary<'_>,
    guard: &Arc<Guard>,
) -> Result<Input, Error> {
    let url = CString::new(url).map_err(|_| Error::Other { errno: EINVAL })?;
    let interrupt = interrupt_by(guard);
    // SAFETY: the context comes from libav, the closure behind its callback lives in
    // `interrupt.guard`, which the returned `Input` keeps, or which is dropped after a failed open
    // has freed the context.
    unsafe {
        let context = allocate(&interrupt)?;
        let context = open(context, Some(&url), options)?;
        Ok(Input::wrap_with_interrupt(context, interrupt.guard))
    }
}

/// SAFETY: the interrupt's closure must outlive the context.
unsafe fn allocate(interrupt: &Interrupt) -> Result<*mut AVFormatContext, Error> {
    // SAFETY: a fresh context, checked for null before it is written to.
    unsafe {
        let context = avformat_alloc_context();
        if context.is_null() {
            return Err(Error::Other { errno: ENOMEM });
        }
        (*context).interrupt_callback = interrupt.interrupt;
        Ok(context)
    }
}

/// SAFETY: `context` must come from [`allocate`]; it is freed when this fails.
unsafe fn open(
    mut context: *mut AVFormatContext,
    url: Option<&CString>,
    options: Dictionary<'_>,
) -> Result<*mut AVFormatContext, Error> {
    let url = url.map_or(ptr::null(), |url| url.as_ptr());
    // SAFETY: all pointers are valid or null where libav allows it; the dictionary is taken back
    // (libav replaces it by the options it did not use) and freed by its owner.
    let status = unsafe {
        let mut options = options.disown();
        let status = avformat_open_input(&raw mut context, url, ptr::null_mut(), &raw mut options);
        drop(Dictionary::own(options));
        status
    };
    if status < 0 {
        return Err(Error::from(status));
    }
    Ok(context)
}
