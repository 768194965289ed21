//! Streamed responses with ranges (RFC 9110 clause 14), for artifacts, which are compressed in their CSAR: the body is read
//! while it is sent, and nothing is unpacked to disk or to memory. actix-files serves plain files.

use std::io::{self, Read};

use actix_files::HttpRange;
use actix_web::body::SizedStream;
use actix_web::http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, IF_RANGE, RANGE};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use futures::{Stream, stream};

use crate::package::bundle::Bundle;

/// The bytes of a response in memory at a time.
const CHUNK: u64 = 64 * 1024;
/// The bytes before the range that one step skips, in about 10 ms. Gybe notices between steps that a client has left.
const SKIP_STEP: u64 = 4 * 1024 * 1024;

/// Content that a response is read from.
pub trait RangeSource: Read + Send + 'static {
    /// Skips at most `bytes` and returns the number of bytes skipped: 0 at the end of the content.
    ///
    /// # Errors
    /// The content cannot be read.
    fn skip(&mut self, bytes: u64) -> io::Result<u64>;
}

/// A compressed stream: skipped bytes are read and dropped.
impl RangeSource for Box<dyn Read + Send> {
    fn skip(&mut self, bytes: u64) -> io::Result<u64> {
        io::copy(&mut self.take(bytes.min(SKIP_STEP)), &mut io::sink())
    }
}

impl RangeSource for Bundle {
    fn skip(&mut self, bytes: u64) -> io::Result<u64> {
        Self::skip(self, bytes);
        Ok(bytes)
    }
}

/// A 200 with all `size` bytes of `reader`, a 206 with those of the request's `Range`, or a 416.
///
/// Ignores a `Range` of another unit or of several parts, and one with `If-Range`, as Gybe sends no validators (RFC 9110
/// clauses 13.1.5 and 14.2).
pub fn response(request: &HttpRequest, reader: impl RangeSource, size: u64) -> HttpResponse {
    let headers = request.headers();
    let range = headers.get(RANGE).filter(|_| !headers.contains_key(IF_RANGE)).and_then(|value| value.to_str().ok());
    let ranges = range.filter(|range| range.starts_with("bytes=")).map(|range| HttpRange::parse(range, size));
    match ranges.transpose() {
        Err(_) => {
            HttpResponse::RangeNotSatisfiable().insert_header((CONTENT_RANGE, format!("bytes */{size}"))).finish()
        }
        // A range has at least one byte (RFC 9110 clause 14.1.2), and empty content has none.
        Ok(Some(_)) if size == 0 => {
            HttpResponse::RangeNotSatisfiable().insert_header((CONTENT_RANGE, "bytes */0")).finish()
        }
        Ok(Some(ranges)) if let [HttpRange { start, length }] = ranges[..] => {
            let content_range = format!("bytes {start}-{}/{size}", start + length - 1);
            let mut partial = HttpResponse::PartialContent();
            partial.insert_header((CONTENT_RANGE, content_range));
            with_body(partial, Part { reader, skip: start, left: length })
        }
        Ok(_) => with_body(HttpResponse::Ok(), Part { reader, skip: 0, left: size }),
    }
}

fn with_body(mut head: HttpResponseBuilder, part: Part<impl RangeSource>) -> HttpResponse {
    head.insert_header((ACCEPT_RANGES, "bytes")).insert_header((CONTENT_LENGTH, part.left));
    head.body(SizedStream::new(part.left, chunks(part)))
}

/// The bytes of the content that are still to be skipped and sent.
struct Part<R> {
    reader: R,
    skip: u64,
    left: u64,
}

/// The chunks of a part. An empty chunk stands for skipped bytes; [`SizedStream`] sends none of them.
fn chunks<R: RangeSource>(part: Part<R>) -> impl Stream<Item = io::Result<Bytes>> {
    stream::try_unfold(part, |part| async {
        let step = tokio::task::spawn_blocking(|| part.step()).await;
        let step = step.map_err(|_| io::Error::other("reading panicked")).flatten();
        step.inspect_err(|error| tracing::warn!(error = error as &dyn std::error::Error, "a response broke off"))
    })
}

impl<R: RangeSource> Part<R> {
    fn step(mut self) -> io::Result<Option<(Bytes, Self)>> {
        if self.skip > 0 {
            self.skip -= not_zero(self.reader.skip(self.skip)?)?;
            return Ok(Some((Bytes::new(), self)));
        }
        if self.left == 0 {
            return Ok(None);
        }
        let mut chunk = Vec::new();
        self.left -= not_zero(self.reader.by_ref().take(self.left.min(CHUNK)).read_to_end(&mut chunk)? as u64)?;
        Ok(Some((chunk.into(), self)))
    }
}

/// The count; an error if the content ended early.
fn not_zero(count: u64) -> io::Result<u64> {
    if count > 0 { Ok(count) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
