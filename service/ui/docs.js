/** The page `/docs`: Swagger UI over the server's own description of its calls; a validator elsewhere is not asked. */

SwaggerUIBundle({ url: "openapi.json", dom_id: "#calls", deepLinking: true, validatorUrl: "none" });
