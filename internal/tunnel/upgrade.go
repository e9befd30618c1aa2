package tunnel

import (
	"net/http"
	"sync"

	"github.com/gorilla/websocket"
)

const (
	readBuffer  = 4 << 10               // large reads go past it
	writeBuffer = maxFrame + smallFrame // a message of data in one WebSocket frame
)

// writeBuffers are shared by all sessions: an idle one has none.
var writeBuffers sync.Pool

// Upgrade makes a session of a request to a WebSocket, as the server's end. It
// answers a request that is none. The session belongs to the caller, whose
// handler should return; it does not end with the request or its server.
func Upgrade(w http.ResponseWriter, r *http.Request, c Config) (*Session, error) {
	u := websocket.Upgrader{
		ReadBufferSize: readBuffer, WriteBufferSize: writeBuffer, WriteBufferPool: &writeBuffers,
		Subprotocols: []string{Subprotocol},
	}
	ws, err := u.Upgrade(w, r, nil)
	if err != nil {
		return nil, err
	}
	if ws.Subprotocol() != Subprotocol {
		_ = ws.Close()
		return nil, errProtocol
	}
	return start(ws, c, false), nil
}
