//! Creates an entity and a role, assigns it, and checks. Needs epr-client, rand, tokio and uuid.
//! Usage: cargo run -p epr-tests --example check [URL]    `EPR_TOKEN` is sent as bearer token where it is set.

use epr_client::domain::{EntityType, NewAssignment, NewEntity, NewRole};
use epr_client::{Client, Question};
use uuid::Uuid;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "http://localhost:8080".into());
    let builder = Client::builder(url);
    let client = match std::env::var("EPR_TOKEN") {
        Ok(token) => builder.token(token).build()?,
        Err(_) => builder.build()?,
    };
    let (user, number) = (Uuid::from_u128(rand::random()), rand::random::<u64>());
    let issuer = NewEntity::new(format!("Acme {number}").try_into()?, EntityType::Issuer);
    let issuer = client.create_entity(&issuer).await?;
    let spv = NewEntity::new(format!("Berlin {number}").try_into()?, EntityType::Spv);
    let spv = client.create_entity(&NewEntity { parent_id: Some(issuer.id), ..spv }).await?;
    let role = NewRole::new(format!("Reader {number}").parse()?).permission("document:download".parse()?);
    let role = client.create_role(&role).await?;
    let question = Question::new(user, "document:download".try_into()?, spv.id);
    println!("before: {}", client.authorize(&question).await?);
    client.assign(&NewAssignment::new(user, role.id).on(issuer.id)).await?;
    println!("after: {}", client.authorize(&question).await?);
    Ok(())
}
