package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// telling passes requests on, and tells of those that vCenter does not answer.
type telling struct {
	*http.Transport
	tell func(error) // nil: nobody wants to know
}

// RoundTrip makes the request. That whoever asked does not want the answer any
// more is no fault of vCenter's, and is not told; that it took too long is.
func (t *telling) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := t.Transport.RoundTrip(req)
	if t.tell == nil {
		return res, err
	}
	told := func(err error) {
		if !errors.Is(req.Context().Err(), context.Canceled) {
			t.CloseIdleConnections() // they may be as dead as the one that was used
			t.tell(err)
		}
	}
	switch {
	case err != nil:
		told(err)
	case res.StatusCode == http.StatusBadGateway, res.StatusCode == http.StatusServiceUnavailable, res.StatusCode == http.StatusGatewayTimeout:
		told(fmt.Errorf("vCenter answers %s", res.Status))
	case res.StatusCode != http.StatusSwitchingProtocols: // whose body is written to as well
		res.Body = &toldBody{ReadCloser: res.Body, told: told}
	}
	return res, err
}

// toldBody tells of an answer that breaks off.
type toldBody struct {
	io.ReadCloser
	told func(error)
}

func (b *toldBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.told(err)
	}
	return n, err
}
