//! The HTTP side: ClickHouse's protocol as its clients use it.
//!
//! `GET /` and `GET /ping` answer without a password. A statement comes in the parameter `query`, in the body, or begins in the
//! one and goes on in the other; parameters stand in the address or in a form. A request takes one of a few turns, its statement
//! runs on a thread of its own, and bodies flow both ways through bounded channels.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, FromRequest, Multipart, Query, Request, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::auth::{Access, Passwords};
use super::body::Piece;
use super::connection::{Engine, summary};
use super::encode::Coding;
use super::exception::{Exception, code};
use super::execute::Job;
use super::limits::{
    DRAIN_BYTES_MAX, PIECES_IN_FLIGHT, READER_QUERIES_MAX, STATEMENT_BYTES_MAX, TURN_WAIT, WRITER_QUERIES_MAX,
};
use super::reply::{KillOnDrop, channel};
use super::request::Order;
use super::session::Sessions;

/// What all requests share.
pub(super) struct Shared {
    pub(super) engine: Arc<Engine>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) passwords: Passwords,
    pub(super) turns: Turns,
    /// Different in each process, so that a client's tag of an earlier one means nothing.
    pub(super) nonce: String,
    pub(super) requests: AtomicU64,
}

/// Turns of both users.
pub(super) struct Turns {
    writer: Arc<Semaphore>,
    reader: Arc<Semaphore>,
}

impl Turns {
    pub(super) fn new() -> Self {
        Self {
            writer: Arc::new(Semaphore::new(WRITER_QUERIES_MAX)),
            reader: Arc::new(Semaphore::new(READER_QUERIES_MAX)),
        }
    }

    async fn take(&self, access: Access) -> Result<OwnedSemaphorePermit, Exception> {
        let turns = if access == Access::Write { &self.writer } else { &self.reader };
        match tokio::time::timeout(TURN_WAIT, turns.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Exception::new(
                code::TOO_MANY_SIMULTANEOUS_QUERIES,
                "TOO_MANY_SIMULTANEOUS_QUERIES",
                format_args!("Too many simultaneous queries of {}", access.user()),
            )),
        }
    }

    /// Comes back when no statement runs.
    pub(super) async fn all_back(&self) {
        let (writer, reader) = (u32::try_from(WRITER_QUERIES_MAX), u32::try_from(READER_QUERIES_MAX));
        if let (Ok(writer), Ok(reader)) = (writer, reader) {
            let _ = tokio::join!(self.writer.acquire_many(writer), self.reader.acquire_many(reader));
        }
    }
}

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", any(statement))
        .route("/ping", get(|| async { "Ok.\n" }))
        .layer(DefaultBodyLimit::max(STATEMENT_BYTES_MAX)) // of forms; other bodies are counted as they are read
        .with_state(shared)
}

async fn statement(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    if request.method() == Method::GET && request.uri().query().is_none() {
        return "Ok.\n".into_response();
    }
    let number = shared.requests.fetch_add(1, Ordering::Relaxed);
    let id = format!("{}-{number}", shared.nonce);
    match admitted(&shared, request, &id).await {
        Ok(response) => response,
        Err(error) => failure(&shared, &error, Coding::Identity, &id),
    }
}

async fn admitted(shared: &Arc<Shared>, request: Request, id: &str) -> Result<Response, Exception> {
    let headers = request.headers().clone();
    let method = request.method().clone();
    let in_address: Query<Vec<(String, String)>> =
        Query::try_from_uri(request.uri()).map_err(Exception::bad)?;
    let access = shared.passwords.check(&headers, &in_address)?;
    let (pairs, body) = take_form(in_address.0, &headers, request).await?;
    let order = Order::parse(&method, &headers, pairs)?;
    let permit = shared.turns.take(access).await?;
    respond(shared, Asked { access, order, headers, body, permit, id: id.to_owned() }).await
}

/// Parameters of a multipart form; then nothing of the body is left.
async fn take_form(
    mut pairs: Vec<(String, String)>,
    headers: &HeaderMap,
    request: Request,
) -> Result<(Vec<(String, String)>, Body), Exception> {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("multipart/form-data") {
        return Ok((pairs, request.into_body()));
    }
    let mut form = Multipart::from_request(request, &()).await.map_err(Exception::bad)?;
    while let Some(field) = form.next_field().await.map_err(Exception::bad)? {
        let name = field.name().unwrap_or_default().to_owned();
        if field.file_name().is_some() {
            return Err(Exception::refused(format_args!("{name}: external tables are not supported")));
        }
        pairs.push((name, field.text().await.map_err(Exception::bad)?));
    }
    Ok((pairs, Body::empty()))
}

/// A request that has its turn.
struct Asked {
    access: Access,
    order: Order,
    headers: HeaderMap,
    body: Body,
    permit: OwnedSemaphorePermit,
    id: String,
}

/// Starts the statement and waits for its first words.
async fn respond(shared: &Arc<Shared>, asked: Asked) -> Result<Response, Exception> {
    let Asked { access, order, headers, body, permit, id } = asked;
    let coding = order.answer_coding(&headers);
    let tag = tag(&shared.nonce, &id, access, &order);
    let frame_tag = format!("{:016x}", xxhash_rust::xxh3::xxh3_64(id.as_bytes()));
    let query_id = order.query_id.clone().unwrap_or_else(|| id.clone());
    let (reply, head, parts) = channel(coding, frame_tag.clone());
    let (pieces, receiver) = mpsc::channel(PIECES_IN_FLIGHT);
    tokio::spawn(pump(body, pieces));
    let mut guard = KillOnDrop::new(shared.engine.clone(), tag.clone());
    let job = Job {
        engine: shared.engine.clone(),
        sessions: shared.sessions.clone(),
        access,
        order,
        tag,
        body: receiver,
        reply,
        permit,
    };
    tokio::task::spawn_blocking(move || job.run());
    match head.await {
        Ok(Ok(head)) => {
            let mut response = Response::new(parts.body(guard));
            describe(&mut response, shared, &query_id, &head.format);
            set(&mut response, "X-ClickHouse-Summary", &summary(head.counters));
            set(&mut response, "X-ClickHouse-Exception-Tag", &frame_tag);
            set_coding(&mut response, coding);
            Ok(response)
        }
        Ok(Err(error)) => {
            guard.disarm();
            Ok(failure(shared, &error, coding, &query_id))
        }
        Err(_) => {
            Err(Exception::new(code::STD_EXCEPTION, "STD_EXCEPTION", "the statement ended without an answer"))
        }
    }
}

/// What a statement is found by. A session's connection keeps the one it was opened with.
fn tag(nonce: &str, id: &str, access: Access, order: &Order) -> String {
    match &order.session {
        Some(session) => {
            let name = format!("{}:{}", access.user(), session.id);
            format!("{nonce}-s{:016x}", xxhash_rust::xxh3::xxh3_64(name.as_bytes()))
        }
        None => id.to_owned(),
    }
}

/// Carries a body to the thread that reads it. When that thread has failed already, the rest is thrown away up to a limit.
async fn pump(mut body: Body, pieces: mpsc::Sender<Piece>) {
    let mut drained = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return }; // the client went away: the channel closes without its end
        let Ok(data) = frame.into_data() else { continue };
        let length = Bytes::len(&data);
        if pieces.send(Piece::Data(data)).await.is_err() {
            drained += length;
            if drained > DRAIN_BYTES_MAX {
                return;
            }
        }
    }
    let _ = pieces.send(Piece::End).await; // a thread that is gone needs no end
}

/// An error before any data: a status, the code in a header, the text as body.
fn failure(shared: &Shared, error: &Exception, coding: Coding, query_id: &str) -> Response {
    let text = format!("{}\n", error.text(&shared.engine.facts.version));
    let encoded = super::encode::Encoder::new(coding).and_then(|mut encoder| {
        let mut bytes = encoder.push(text.as_bytes())?;
        bytes.extend(encoder.finish()?);
        Ok(bytes)
    });
    let (bytes, coding) = encoded.map_or((text.into_bytes(), Coding::Identity), |bytes| (bytes, coding));
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = error.status();
    if error.status() == StatusCode::UNAUTHORIZED {
        set(&mut response, "WWW-Authenticate", "Basic realm=\"vonggac store\"");
    }
    describe(&mut response, shared, query_id, "TabSeparated");
    set(&mut response, "X-ClickHouse-Exception-Code", &error.code.to_string());
    set_coding(&mut response, coding);
    response
}

fn describe(response: &mut Response, shared: &Shared, query_id: &str, format: &str) {
    let facts = &shared.engine.facts;
    set(response, "X-ClickHouse-Server-Display-Name", &facts.display_name);
    set(response, "X-ClickHouse-Timezone", &facts.timezone);
    set(response, "X-ClickHouse-Query-Id", query_id);
    set(response, "X-ClickHouse-Format", format);
    set(response, CONTENT_TYPE.as_str(), content_type(format));
}

fn set_coding(response: &mut Response, coding: Coding) {
    if let Some(name) = coding.header() {
        set(response, CONTENT_ENCODING.as_str(), name);
    }
}

/// A value that cannot stand in a header (a client's query id may hold anything) is left out.
fn set(response: &mut Response, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
        response.headers_mut().insert(name, value);
    }
}

fn content_type(format: &str) -> &'static str {
    match format {
        "JSON" | "JSONCompact" | "JSONStrings" | "JSONColumns" => "application/json; charset=UTF-8",
        "JSONEachRow" | "JSONCompactEachRow" => "application/x-ndjson; charset=UTF-8",
        "CSV" | "CSVWithNames" | "CSVWithNamesAndTypes" => "text/csv; charset=UTF-8",
        name if name.starts_with("TabSeparated") || name.starts_with("TSV") => {
            "text/tab-separated-values; charset=UTF-8"
        }
        "Native"
        | "RowBinary"
        | "RowBinaryWithNames"
        | "RowBinaryWithNamesAndTypes"
        | "Parquet"
        | "Arrow"
        | "ArrowStream" => "application/octet-stream",
        _ => "text/plain; charset=UTF-8",
    }
}
