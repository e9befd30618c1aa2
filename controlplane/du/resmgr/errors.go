package resmgr

import (
	"errors"
	"fmt"

	"github.com/openpf9/openpf9/internal/httpapi"
)

// refuse returns an error that the client or the host is told.
func refuse(status int, format string, args ...any) error {
	return &httpapi.Error{Status: status, Message: fmt.Errorf(format, args...).Error()}
}

// statusOf returns the HTTP status that an error asks for; 0: none.
func statusOf(err error) int {
	if e, ok := errors.AsType[*httpapi.Error](err); ok {
		return e.Status
	}
	return 0
}
