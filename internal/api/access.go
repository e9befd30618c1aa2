package api

import (
	"time"

	"github.com/openpf9/openpf9/internal/wire"
)

// AnyKind is the kind of a join token for a host as well as a gateway.
const AnyKind = "any"

// JoinToken is a join token as lists show it.
type JoinToken struct {
	ID          string      `json:"id"`
	Kind        string      `json:"kind"`           // "host", "gateway" or AnyKind
	Host        wire.HostID `json:"host,omitempty"` // empty: any host that is new
	Description string      `json:"description,omitempty"`
	Created     time.Time   `json:"created"`
	CreatedBy   string      `json:"created_by"`
	Expires     time.Time   `json:"expires"`
	Uses        int         `json:"uses"`
	UsesLeft    int         `json:"uses_left"`
	Revoked     bool        `json:"revoked,omitempty"`
}

// NewJoinToken is a token just made: the only time that its secret is shown.
type NewJoinToken struct {
	JoinToken
	Secret string `json:"secret"` // the whole token, "pf9j1...."
}

// JoinTokenRequest asks for a join token. Its zero value is a good default.
type JoinTokenRequest struct {
	Kind        string      `json:"kind,omitempty"`        // "host", "gateway" or AnyKind; empty: "host"
	Host        wire.HostID `json:"host,omitempty"`        // only this one, also if it was enrolled before
	Description string      `json:"description,omitempty"` // at most 200 bytes
	TTLSeconds  int64       `json:"ttl_seconds,omitempty"` // 0: 24 hours
	Uses        int         `json:"uses,omitempty"`        // 0: 1; at most 100,000
}

// JoinTokens lists join tokens, newest first.
type JoinTokens struct {
	Tokens []JoinToken `json:"tokens"`
}

// IssuedCertificate is a certificate in the repository.
type IssuedCertificate struct {
	Serial    string      `json:"serial"`
	Host      wire.HostID `json:"host"`
	Kind      string      `json:"kind"`
	NotBefore time.Time   `json:"not_before"`
	NotAfter  time.Time   `json:"not_after"`
	Issued    time.Time   `json:"issued"`
	How       string      `json:"how"` // "token <id>" or "renewal"
	Revoked   time.Time   `json:"revoked,omitzero"`
	Reason    string      `json:"reason,omitempty"` // of the revocation
}

// IssuedCertificates lists certificates by host and age.
type IssuedCertificates struct {
	Certificates []IssuedCertificate `json:"certificates"`
}

// Revocation asks to revoke a host.
type Revocation struct {
	Reason string `json:"reason,omitempty"` // at most 200 bytes
}

// Token is an API token as lists show it.
type Token struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Level   string    `json:"level"` // "reader", "operator", "admin"
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"` // zero: never
	Used    time.Time `json:"used,omitzero"`    // last, since the control plane started
}

// NewToken is an API token just made: the only time that its secret is shown.
type NewToken struct {
	Token
	Secret string `json:"secret"` // the whole token, "pf9a1...."
}

// TokenRequest asks for an API token.
type TokenRequest struct {
	Name  string `json:"name"`
	Level string `json:"level"`
	// TTLSeconds is how long the token lives; 0: until it is revoked.
	TTLSeconds int64 `json:"ttl_seconds,omitempty"`
}

// Tokens lists API tokens, oldest first.
type Tokens struct {
	Tokens []Token `json:"tokens"`
}

// AuditEntry is one action in the audit.
type AuditEntry struct {
	ID      int64     `json:"id"` // grows
	Time    time.Time `json:"time"`
	Actor   string    `json:"actor"`  // an API token's name, a host's identity, or "anonymous"
	Action  string    `json:"action"` // "host.revoke", "tunnel.refused"
	Object  string    `json:"object,omitempty"`
	Outcome string    `json:"outcome"` // "done", "refused" or "failed"
	Reason  string    `json:"reason,omitempty"`
	Remote  string    `json:"remote,omitempty"` // address
	// Times is how often the same refusal came from the same address within a
	// second or so; more than one only for refusals.
	Times int `json:"times"`
}

// Audit is a page of the audit, newest first.
type Audit struct {
	Entries []AuditEntry `json:"entries"`
	// Before, if set, continues the list.
	Before int64 `json:"before,omitempty"`
}
