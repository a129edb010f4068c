//! One request, from its head to its answer. Must never: ask a model for a program that has gone.
use super::agent_api;
use super::ask::{Asker, Outcome};
use super::exchange::{Exchange, Gone};
use super::problem::Problem;
use super::wire::{Asked, Speech, Wire};
use crate::app::App;
use crate::model::price;
use serde_json::{Value, json};
use std::sync::Arc;
use tenure_core::id::ConnectionId;
use tenure_wire::stream::OpenStream;
use tokio::sync::OwnedSemaphorePermit;

/// Says what of a request was left out because no model here is asked for it.
const LEFT_OUT: &str = "tenure-left-out";

/// What a path asks for.
enum Route {
    Ask(Wire),
    Count,
    Models,
    /// The API that agents have.
    Agent,
    /// What a hook's program calls back, by its name.
    Callback(String),
}

/// `place`: none where the holder has as many requests open as it may.
pub(super) async fn serve(
    app: Arc<App>,
    mut exchange: Exchange,
    open: OpenStream,
    place: Option<OwnedSemaphorePermit>,
) {
    let done = match route(&open).and_then(|route| if place.is_some() { Ok(route) } else { Err(Problem::busy()) }) {
        Ok(route) => answer(&app, &mut exchange, &open, route).await,
        Err(problem) => refuse(&mut exchange, &problem).await,
    };
    match done {
        Ok(()) => exchange.end().await,
        Err(Gone) => exchange.break_off().await,
    }
    drop(place);
}

fn route(open: &OpenStream) -> Result<Route, Problem> {
    let path = open.path.split('?').next().unwrap_or_default();
    let (method, route) = match path {
        "/v1/chat/completions" => ("POST", Route::Ask(Wire::Chat)),
        "/v1/responses" => ("POST", Route::Ask(Wire::Responses)),
        "/v1/messages" => ("POST", Route::Ask(Wire::Messages)),
        "/v1/llm/generate" => ("POST", Route::Ask(Wire::Generate)),
        "/v1/messages/count_tokens" => ("POST", Route::Count),
        "/v1/models" => ("GET", Route::Models),
        "/mcp" => return Ok(Route::Agent),
        _ if path.starts_with(agent_api::PREFIX) => {
            let name = &path[agent_api::PREFIX.len()..];
            let is_named = name == agent_api::PERMISSION || (name.contains('.') && !name.contains('/'));
            let is_callback = open.method == "POST" && is_named;
            return Ok(if is_callback { Route::Callback(name.to_string()) } else { Route::Agent });
        }
        _ => return Err(Problem::no_such_path(path)),
    };
    if open.method == method { Ok(route) } else { Err(Problem::wrong_method(&open.method, path)) }
}

async fn answer(app: &App, exchange: &mut Exchange, open: &OpenStream, route: Route) -> Result<(), Gone> {
    let body = match exchange.body().await? {
        Ok(body) => app.vault.scrubber().text(&body).into_owned(),
        Err(problem) => return refuse(exchange, &problem).await,
    };
    match route {
        Route::Agent => match agent_api::forward(app, (open, exchange.connection.id), body).await {
            Ok(response) => agent_api::pass_on(exchange, response).await,
            Err(problem) => refuse(exchange, &problem).await,
        },
        Route::Callback(name) => match agent_api::Callback::read(&name, &body) {
            Ok(agent_api::Callback::Generate(params)) => match Asked::read(Wire::Generate, &params, false) {
                Ok(asked) => ask(app, exchange, open, Wire::Generate, asked, params).await,
                Err(problem) => refuse(exchange, &problem).await,
            },
            Ok(agent_api::Callback::Permission(wanted)) => {
                match waited(exchange, |by| agent_api::permission(app, (open, by), &wanted)).await? {
                    Ok(chosen) => {
                        exchange.head(200, &[("content-type", "application/json".to_string())]).await?;
                        exchange.data(&chosen.to_string()).await
                    }
                    Err(problem) => refuse(exchange, &problem).await,
                }
            }
            Ok(agent_api::Callback::Invoke(invoke)) => {
                match waited(exchange, |by| agent_api::invoke(app, (open, by), invoke)).await? {
                    Ok((status, answer)) => {
                        exchange.head(status, &[("content-type", "application/json".to_string())]).await?;
                        exchange.data(&answer.to_string()).await
                    }
                    Err(problem) => refuse(exchange, &problem).await,
                }
            }
            Err(problem) => refuse(exchange, &problem).await,
        },
        Route::Models => give(exchange, &models(app), &[]).await,
        Route::Count => match Asked::read(Wire::Messages, &body, true) {
            Ok(asked) => {
                let tokens = price::input_tokens(&asked.request);
                give(exchange, &json!({"input_tokens": tokens}), &asked.left_out).await
            }
            Err(problem) => refuse(exchange, &problem).await,
        },
        Route::Ask(wire) => match Asked::read(wire, &body, false) {
            Ok(asked) => ask(app, exchange, open, wire, asked, body).await,
            Err(problem) => refuse(exchange, &problem).await,
        },
    }
}

/// People may take long; a program that has gone waits for nothing.
async fn waited<R>(exchange: &mut Exchange, work: impl AsyncFnOnce(ConnectionId) -> R) -> Result<R, Gone> {
    let by = exchange.connection.id;
    tokio::select! {
        biased;
        gone = exchange.gone() => Err(gone),
        done = work(by) => Ok(done),
    }
}

async fn ask(
    app: &App,
    exchange: &mut Exchange,
    open: &OpenStream,
    wire: Wire,
    asked: Asked,
    body: String,
) -> Result<(), Gone> {
    let asker = match Asker::new(app, open, wire, asked, body).await {
        Ok(asker) => asker,
        Err(problem) => return refuse(exchange, &problem).await,
    };
    let mut speech = Speech::new(wire, &asker.asked);
    let outcome = asker.run(exchange, &mut speech).await?;
    match outcome {
        Outcome::Answered { answer, left_out } if !speech.streams() => {
            give(exchange, &speech.whole(&answer), &left_out).await
        }
        Outcome::Answered { answer, left_out } => {
            begin_stream(exchange, &left_out).await?;
            let rest = speech.end(&answer);
            exchange.data(&rest).await
        }
        Outcome::Failed(problem) if exchange.has_begun() => {
            let told = speech.failed(&problem);
            exchange.data(&told).await
        }
        Outcome::Failed(problem) => refuse(exchange, &problem).await,
    }
}

/// Begins the answer's events, unless it has.
pub(super) async fn begin_stream(exchange: &mut Exchange, left_out: &[String]) -> Result<(), Gone> {
    if exchange.has_begun() {
        return Ok(());
    }
    let mut headers = vec![("content-type", "text/event-stream; charset=utf-8".to_string())];
    headers.push(("cache-control", "no-store".to_string()));
    headers.extend(told(left_out));
    exchange.head(200, &headers).await
}

fn told(left_out: &[String]) -> Option<(&'static str, String)> {
    (!left_out.is_empty()).then(|| (LEFT_OUT, left_out.join(", ")))
}

async fn give(exchange: &mut Exchange, body: &Value, left_out: &[String]) -> Result<(), Gone> {
    let mut headers = vec![("content-type", "application/json".to_string())];
    headers.extend(told(left_out));
    exchange.head(200, &headers).await?;
    exchange.data(&body.to_string()).await
}

async fn refuse(exchange: &mut Exchange, problem: &Problem) -> Result<(), Gone> {
    let mut headers = vec![("content-type", "application/json".to_string())];
    // Libraries ask again by the status alone where nobody says otherwise; what was tried here was tried again here.
    headers.push(("x-should-retry", problem.again.to_string()));
    if problem.again {
        headers.push(("retry-after", "1".to_string()));
    }
    exchange.head(problem.status, &headers).await?;
    exchange.data(&problem.body().to_string()).await
}

/// The words by which a model may be asked for, in a form that the libraries of both kinds of provider read.
fn models(app: &App) -> Value {
    let words = app.models.words();
    let model = |word: &String| {
        json!({
            "id": word, "object": "model", "created": 0, "owned_by": "tenure",
            "type": "model", "display_name": word, "created_at": "1970-01-01T00:00:00Z",
        })
    };
    let data: Vec<Value> = words.iter().map(model).collect();
    json!({"object": "list", "data": data, "has_more": false, "first_id": words.first(), "last_id": words.last()})
}
