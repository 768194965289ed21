//! `/subscriptions` of both APIs, in both editions (SOL003 clauses 5.4.18, 5.4.19, 10.4.7 and 10.4.8), and two extensions:
//! undelivered notifications, and their resend.

use actix_web::http::header::{HeaderName, LOCATION};
use actix_web::{HttpRequest, HttpResponse, web};

use crate::api::body::{Id, Json};
use crate::api::context::Api;
use crate::api::list::List;
use crate::api::load::{self, Load};
use crate::config::CallbackTest;
use crate::domain::ids::SubscriptionId;
use crate::domain::problem::{Problem, ProblemType, problem};
use crate::domain::subscription::Subscription;
use crate::error::{ApiError, internal};
use crate::lcm::subscribe::Subscriber;
use crate::sol003::common::{ListParameters, ProblemDetails};
use crate::sol003::notification::UndeliveredNotification;
use crate::sol003::subscription::{
    LccnSubscription, LccnSubscriptionRequest, PkgmSubscription, PkgmSubscriptionRequest,
};
use crate::sol003::{Edition, Interface};
use crate::store::attributes::subscriptions as attributes;
use crate::store::{Page, PageCursor, StoreError, Subscribed};

fn missing(id: SubscriptionId) -> impl Fn(StoreError) -> ApiError {
    move |error| match error {
        StoreError::NotFound => Problem::not_found("subscription", &id.to_string()).into(),
        other => other.into(),
    }
}

/// Loads the subscription if it belongs to that API.
async fn found(api: &Api, interface: Interface, id: SubscriptionId) -> Result<Subscription, ApiError> {
    let subscription = api.store.subscription(&api.caller.project, id).await.map_err(missing(id))?;
    if subscription.interface == interface { Ok(subscription) } else { Err(missing(id)(StoreError::NotFound)) }
}

/// Tests the callback URI, strictly or leniently.
async fn test_callback_uri(api: &Api, subscription: &Subscription) -> Result<(), ApiError> {
    let (callbacks, tested) = (api.callbacks.clone(), subscription.clone());
    // The connections belong to the runtime of the process.
    let answer = api.runtime.spawn(async move { callbacks.probe(&tested).await }).await;
    let refused = |reason: String| {
        problem!(
            ProblemType::Unprocessable,
            "the test of the callback URI {callbackUri} failed: it must respond to a GET with 204, but {reason}",
            callbackUri = subscription.callback_uri.to_string(),
            reason = reason,
        )
    };
    let status = answer.map_err(|error| internal(&error))?.map_err(refused)?;
    match (api.callback_test, status.as_u16()) {
        (_, 204) => Ok(()),
        // The URI exists, though perhaps only for POST.
        (CallbackTest::Lenient, 200..=299 | 401 | 403..=405 | 501) => {
            tracing::warn!(subscription.id = %subscription.id, "the callback URI of subscription {} answered {status}, not 204", subscription.id);
            Ok(())
        }
        _ => Err(refused(format!("the answer was {status}")).into()),
    }
}

fn subscriber(api: &Api) -> Subscriber<'_> {
    Subscriber {
        clock: &*api.clock,
        ids: &*api.ids,
        project: &api.caller.project,
        base_url: &api.public_url,
        has_certificate: api.callbacks.has_certificate(),
        orphan_grace: api.profile.orphan_grace,
    }
}

/// `POST /subscriptions` of `/vnflcm`.
#[utoipa::path(post, path = "/subscriptions", tag = "subscriptions", request_body = LccnSubscriptionRequest,
    responses((status = 201, body = LccnSubscription), (status = 303, description = "There is an equal subscription: Location"), (status = 409, description = "The quota of the project is used up", body = ProblemDetails), (status = 422, description = "The callback URI did not pass its test, or what is asked for can't be", body = ProblemDetails)))]
pub async fn create(
    api: web::Data<Api>,
    load: web::Data<Load>,
    http: HttpRequest,
    edition: Edition,
    Json(request): Json<LccnSubscriptionRequest>,
) -> Result<HttpResponse, ApiError> {
    subscribe(&api, &load, &http, &subscriber(&api).to_lifecycle(edition, request)?).await
}

/// `POST /subscriptions` of `/vnfpkgm`.
#[utoipa::path(post, path = "/subscriptions", tag = "subscriptions", operation_id = "create_subscription", request_body = PkgmSubscriptionRequest,
    responses((status = 201, body = PkgmSubscription), (status = 303, description = "There is an equal subscription: Location"), (status = 409, description = "The quota of the project is used up", body = ProblemDetails), (status = 422, description = "The callback URI did not pass its test, or what is asked for can't be", body = ProblemDetails)))]
pub async fn create_for_packages(
    api: web::Data<Api>,
    load: web::Data<Load>,
    http: HttpRequest,
    edition: Edition,
    Json(request): Json<PkgmSubscriptionRequest>,
) -> Result<HttpResponse, ApiError> {
    subscribe(&api, &load, &http, &subscriber(&api).to_packages(edition, request)?).await
}

async fn subscribe(
    api: &Api,
    load: &Load,
    request: &HttpRequest,
    subscription: &Subscription,
) -> Result<HttpResponse, ApiError> {
    if api.callback_test != CallbackTest::Off {
        let _share = load::third_party(load, request, &api.caller)?;
        test_callback_uri(api, subscription).await?;
    }
    Ok(match api.store.create_subscription(subscription).await? {
        Subscribed::Created => created(api, subscription),
        Subscribed::Existing(id) => HttpResponse::SeeOther().insert_header(location(api, subscription, id)).finish(),
    })
}

fn location(api: &Api, subscription: &Subscription, id: SubscriptionId) -> (HeaderName, String) {
    (LOCATION, format!("{}{}/subscriptions/{id}", api.public_url, subscription.root()))
}

/// 201 with the subscription.
pub(super) fn created(api: &Api, subscription: &Subscription) -> HttpResponse {
    HttpResponse::Created().insert_header(location(api, subscription, subscription.id)).json(LccnSubscription::new(
        subscription,
        subscription.edition,
        &api.public_url,
    ))
}

/// `GET /subscriptions`.
#[utoipa::path(get, path = "/subscriptions", tag = "subscriptions", params(ListParameters),
    responses((status = 200, description = "The subscriptions, oldest first; Link leads to the next page", body = Vec<LccnSubscription>), (status = 400, body = ProblemDetails), (status = 403, description = "all_projects, and the caller is no admin", body = ProblemDetails)))]
pub async fn list(
    api: web::Data<Api>,
    interface: Interface,
    edition: Edition,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let list = List::read(&api, &request, attributes::of(interface, edition), &[])?;
    let project = list.project();
    let fetch = async |page: &Page<'_>| api.store.subscriptions(project, interface, page).await;
    let element = |one: &Subscription| LccnSubscription::new(one, edition, &api.public_url);
    let place = |one: &Subscription| PageCursor::of(one.created_at, one.id.0);
    let (elements, last) = list.gather(fetch, place, |one| Some(&one.project_id), element).await?;
    Ok(list.response(&elements, last))
}

/// `GET /subscriptions/{id}`.
#[utoipa::path(get, path = "/subscriptions/{id}", tag = "subscriptions", params(("id" = String, Path)),
    responses((status = 200, body = LccnSubscription), (status = 404, body = ProblemDetails)))]
pub async fn show(
    api: web::Data<Api>,
    interface: Interface,
    edition: Edition,
    Id(id): Id<SubscriptionId>,
) -> Result<HttpResponse, ApiError> {
    let subscription = found(&api, interface, id).await?;
    Ok(HttpResponse::Ok().json(LccnSubscription::new(&subscription, edition, &api.public_url)))
}

/// `DELETE /subscriptions/{id}`.
#[utoipa::path(delete, path = "/subscriptions/{id}", tag = "subscriptions", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = ProblemDetails)))]
pub async fn remove(
    api: web::Data<Api>,
    interface: Interface,
    Id(id): Id<SubscriptionId>,
) -> Result<HttpResponse, ApiError> {
    found(&api, interface, id).await?;
    api.store.delete_subscription(&api.caller.project, id).await.map_err(missing(id))?;
    Ok(HttpResponse::NoContent().finish())
}

/// `GET /subscriptions/{id}/notifications`: an extension.
#[utoipa::path(get, path = "/subscriptions/{id}/notifications", tag = "subscriptions", params(("id" = String, Path)),
    responses((status = 200, description = "What is not delivered, in the order in which it is sent; no more than a page", body = Vec<UndeliveredNotification>), (status = 404, body = ProblemDetails)))]
pub async fn undelivered(
    api: web::Data<Api>,
    interface: Interface,
    Id(id): Id<SubscriptionId>,
) -> Result<HttpResponse, ApiError> {
    let subscription = found(&api, interface, id).await?;
    let undelivered = api.store.undelivered(&api.caller.project, id, api.page_size).await?;
    let rendered: Vec<_> = undelivered.iter().map(|one| UndeliveredNotification::new(one, &subscription)).collect();
    Ok(HttpResponse::Ok().json(rendered))
}

/// `POST /subscriptions/{id}/notifications/resend`: an extension.
#[utoipa::path(post, path = "/subscriptions/{id}/notifications/resend", tag = "subscriptions", params(("id" = String, Path)),
    responses((status = 202, description = "What was parked is sent again, and what waits is sent now"), (status = 404, body = ProblemDetails)))]
pub async fn resend(
    api: web::Data<Api>,
    interface: Interface,
    Id(id): Id<SubscriptionId>,
) -> Result<HttpResponse, ApiError> {
    found(&api, interface, id).await?;
    let number = api.store.resend(&api.caller.project, id).await.map_err(missing(id))?;
    tracing::info!(subscription.id = %id, "{number} parked notifications are sent again");
    Ok(HttpResponse::Accepted().finish())
}
