//! Answers with bytes that are read while they are sent, or with the part of them that `Range` asks for. For artifacts,
//! which are compressed in their CSAR: nothing is unpacked to disk or to memory for them, one by one or together. (What is a
//! file by itself, actix-files serves.)

use std::io::{self, Read};

use actix_files::HttpRange;
use actix_web::body::SizedStream;
use actix_web::http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, IF_RANGE, RANGE};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use futures::{Stream, stream};

use crate::package::bundle::Bundle;

/// What is in memory of an answer at a time.
const PIECE: u64 = 64 * 1024;
/// So much of what is before the range is dropped in one turn: some 10 ms. A caller that left is noticed between turns.
const SKIP: u64 = 4 * 1024 * 1024;

/// What answers are read from.
pub trait Source: Read + Send + 'static {
    /// Passes over some of the next `bytes`, and tells how many: 0 if there is nothing more.
    ///
    /// # Errors
    /// What reading fails with.
    fn skip(&mut self, bytes: u64) -> io::Result<u64>;
}

/// What comes after can't be had without what is before.
impl Source for Box<dyn Read + Send> {
    fn skip(&mut self, bytes: u64) -> io::Result<u64> {
        io::copy(&mut self.take(bytes.min(SKIP)), &mut io::sink())
    }
}

impl Source for Bundle {
    fn skip(&mut self, bytes: u64) -> io::Result<u64> {
        Self::skip(self, bytes);
        Ok(bytes)
    }
}

/// A 200 with all `size` bytes of `reader`, a 206 with those that the request's `Range` asks for, or a 416.
///
/// A `Range` of another unit or of several parts is ignored, as is one with `If-Range`, since no validators are given out
/// (RFC 9110 clauses 13.1.5 and 14.2).
pub fn answer(request: &HttpRequest, reader: impl Source, size: u64) -> HttpResponse {
    let headers = request.headers();
    let range = headers.get(RANGE).filter(|_| !headers.contains_key(IF_RANGE)).and_then(|value| value.to_str().ok());
    let ranges = range.filter(|range| range.starts_with("bytes=")).map(|range| HttpRange::parse(range, size));
    match ranges.transpose() {
        Err(_) => {
            HttpResponse::RangeNotSatisfiable().insert_header((CONTENT_RANGE, format!("bytes */{size}"))).finish()
        }
        // Of nothing, no part can be had: RFC 9110 clause 14.1.2 wants one byte at least.
        Ok(Some(_)) if size == 0 => {
            HttpResponse::RangeNotSatisfiable().insert_header((CONTENT_RANGE, "bytes */0")).finish()
        }
        Ok(Some(ranges)) if let [HttpRange { start, length }] = ranges[..] => {
            let shown = format!("bytes {start}-{}/{size}", start + length - 1);
            let mut partial = HttpResponse::PartialContent();
            partial.insert_header((CONTENT_RANGE, shown));
            body(partial, Part { reader, skip: start, left: length })
        }
        Ok(_) => body(HttpResponse::Ok(), Part { reader, skip: 0, left: size }),
    }
}

fn body(mut head: HttpResponseBuilder, part: Part<impl Source>) -> HttpResponse {
    head.insert_header((ACCEPT_RANGES, "bytes")).insert_header((CONTENT_LENGTH, part.left));
    head.body(SizedStream::new(part.left, pieces(part)))
}

/// What is still to be read.
struct Part<R> {
    reader: R,
    skip: u64,
    left: u64,
}

/// The pieces of a part. An empty one says only that bytes before the part were skipped; [`SizedStream`] sends none.
fn pieces<R: Source>(part: Part<R>) -> impl Stream<Item = io::Result<Bytes>> {
    stream::try_unfold(part, |part| async {
        let turn = tokio::task::spawn_blocking(|| part.turn()).await;
        let turn = turn.map_err(|_| io::Error::other("reading panicked")).flatten();
        turn.inspect_err(|error| tracing::warn!(error = error as &dyn std::error::Error, "an answer broke off"))
    })
}

impl<R: Source> Part<R> {
    fn turn(mut self) -> io::Result<Option<(Bytes, Self)>> {
        if self.skip > 0 {
            self.skip -= some(self.reader.skip(self.skip)?)?;
            return Ok(Some((Bytes::new(), self)));
        }
        if self.left == 0 {
            return Ok(None);
        }
        let mut piece = Vec::new();
        self.left -= some(self.reader.by_ref().take(self.left.min(PIECE)).read_to_end(&mut piece)? as u64)?;
        Ok(Some((piece.into(), self)))
    }
}

/// The count, unless there was nothing more to read where there should be.
fn some(count: u64) -> io::Result<u64> {
    if count > 0 { Ok(count) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
