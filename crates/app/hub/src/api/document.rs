//! The API's OpenAPI document: what all calls share, and the text.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::body::Bytes;
use axum::http::header;
use axum::response::IntoResponse;
use felhom_protocol::ErrorBody;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, LicenseBuilder, ObjectBuilder, OpenApi, OpenApiBuilder,
    Ref, RefOr, Response, ResponseBuilder, Type,
};
use utoipa::{IntoResponses, ToSchema as _};
use utoipa_axum::router::OpenApiRouter;

use super::{BASE, declared};

const ABOUT: &str = "What operators and their programs ask of a hub; the `felhom` command line is its client. \
    Times are RFC 3339, sizes are bytes unless the name says otherwise, binary is base64. \
    Unknown fields in a request are an error; answers may get more fields. \
    Every error has the form `ErrorBody`: an unknown path is 404 `no_such_path`, a wrong method 405 `method_not_allowed`.";

const TOKEN: &str = "An operator's API token, as `felhom-hub operator add NAME` makes it at the hub.";

/// The name of the security scheme.
const SCHEME: &str = "operator_token";

/// The document as JSON. It says of this hub what the source says, and no more: not even its version.
pub(crate) fn document() -> String {
    let whole = OpenApiRouter::with_openapi(shared()).nest(BASE, declared()).into_openapi();
    let text = serde_json::to_string_pretty(&whole).unwrap_or_default();
    without_links(&text) + "\n"
}

fn shared() -> OpenApi {
    let license = LicenseBuilder::new().name("AGPL-3.0-or-later").identifier(Some("AGPL-3.0-or-later"));
    let info = InfoBuilder::new()
        .title("Felhom hub: the operators' API")
        .version("1")
        .description(Some(ABOUT))
        .license(Some(license.build()));
    let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(TOKEN)).build();
    let components = ComponentsBuilder::new()
        .schema(ErrorBody::name(), <ErrorBody as utoipa::PartialSchema>::schema())
        .security_scheme(SCHEME, SecurityScheme::Http(token));
    OpenApiBuilder::new()
        .info(info.build())
        .components(Some(components.build()))
        .security(Some([SecurityRequirement::new(SCHEME, [] as [&str; 0])]))
        .build()
}

/// Doc comments link other items, `[name]` or `[name](path)` with the name in backticks; here only the name is of use.
fn without_links(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, link)) = rest.split_once("[`") {
        let Some((name, after)) = link.split_once("`]") else { break };
        plain.extend([before, "`", name, "`"]);
        let target = after.strip_prefix('(').and_then(|target| target.split_once(')'));
        rest = target.map_or(after, |(_, behind)| behind);
    }
    plain + rest
}

/// Shows this document.
///
/// No token is needed: nothing in it is of this hub, and who writes a client has none yet.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "show_openapi",
    tag = "this API",
    security(()),
    responses((status = 200, body = Object, content_type = "application/json", description = "OpenAPI 3.1."))
)]
pub(crate) async fn serve() -> impl IntoResponse {
    static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| document().into());
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.clone())
}

type Answers = BTreeMap<String, RefOr<Response>>;

fn error(status: u16, description: &str) -> (String, ResponseBuilder) {
    let body = ContentBuilder::new().schema(Some(Ref::from_schema_name(ErrorBody::name()))).build();
    (status.to_string(), ResponseBuilder::new().description(description).content("application/json", body))
}

fn answers<const N: usize>(all: [(String, ResponseBuilder); N]) -> Answers {
    all.into_iter().map(|(status, answer)| (status, answer.build().into())).collect()
}

/// What every call that needs a token can come to.
pub(super) struct Refusals;

impl IntoResponses for Refusals {
    fn responses() -> Answers {
        let header = |kind, text: &str| {
            let schema = ObjectBuilder::new().schema_type(kind).build();
            HeaderBuilder::new().schema(Some(schema)).description(Some(text)).build()
        };
        let (status, nobody) = error(401, "`no_token`; `unknown_token`: no operator has it.");
        let nobody = nobody.header("WWW-Authenticate", header(Type::String, "`Bearer`."));
        let (later, often) = error(429, "`too_many_failures`: too many unknown tokens from this address.");
        let often = often.header("Retry-After", header(Type::Integer, "Seconds."));
        let failed =
            error(503, "`database`: the hub's database failed. Without a body: no answer within 75 s.");
        answers([(status, nobody), (later, often), failed])
    }
}

/// A path with parts can be wrong.
pub(super) struct BadPath;

impl IntoResponses for BadPath {
    fn responses() -> Answers {
        answers([error(400, "`bad_request`: a part of the path is not what it should be.")])
    }
}

/// A body can be wrong, and the path too.
pub(super) struct BadBody;

impl IntoResponses for BadBody {
    fn responses() -> Answers {
        answers([
            error(
                400,
                "`malformed`: the body is not as described; the message names the field. `bad_request`: it is, and a value is out of its limits. `body_not_read`.",
            ),
            error(413, "`body_not_read`: larger than 1 MiB."),
        ])
    }
}

/// The box may not be there.
pub(super) struct NoBox;

impl IntoResponses for NoBox {
    fn responses() -> Answers {
        answers([error(404, "`no_such_box`.")])
    }
}

/// The challenge may not be known.
pub(super) struct NoChallenge;

impl IntoResponses for NoChallenge {
    fn responses() -> Answers {
        answers([error(404, "`no_such_challenge`.")])
    }
}

/// The challenge may be over.
pub(super) struct ChallengeOver;

impl IntoResponses for ChallengeOver {
    fn responses() -> Answers {
        let text = "`challenge_over`: it takes no answers any more; `too_many_answers`.";
        answers([error(409, text)])
    }
}

/// A desired state may be well-formed and still be nonsense.
pub(super) struct NotObeyable;

impl IntoResponses for NotObeyable {
    fn responses() -> Answers {
        let text = "`invalid_desired_state`: well-formed, but not what a box can obey, e.g. a guest twice or no cron expression.";
        answers([error(422, text)])
    }
}

/// An id may not come about.
pub(super) struct NoRandomness;

impl IntoResponses for NoRandomness {
    fn responses() -> Answers {
        answers([error(500, "`no_random`: the system gave no random bytes.")])
    }
}
